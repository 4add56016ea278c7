//! `[artifact]`.

use cluster::artifact::{Artifact, ArtifactUrl, Sha256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::{Faults, at};

/// What is fetched before a replica starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtifactForm {
    /// Where it is: `file:///PATH` on the agent's host, `http://`, `https://` or `s3://BUCKET/KEY`. A plain file, or an archive (tar, tar.gz,
    /// tar.zst, zip).
    #[schemars(with = "String", regex(pattern = "^(file:///|https?://|s3://)"), example = &"https://example.com/shop-1.2.tar.gz")]
    url: ArtifactUrl,
    /// The SHA-256 digest of its bytes, in hexadecimal, as `sha256sum` prints it. Must be there unless the URL is `file:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: Option<Sha256>,
}

impl ArtifactForm {
    pub(crate) fn artifact(self, faults: &mut Faults) -> Artifact {
        let artifact = Artifact { url: self.url, sha256: self.sha256 };
        if !artifact.is_complete() {
            let what = "the key \"sha256\" is missing; it may be left out of a file: URL only. `sha256sum FILE` prints it";
            faults.add(at!["artifact"], what);
        }
        artifact
    }
}

impl From<&Artifact> for ArtifactForm {
    fn from(artifact: &Artifact) -> Self {
        ArtifactForm { url: artifact.url.clone(), sha256: artifact.sha256.clone() }
    }
}
