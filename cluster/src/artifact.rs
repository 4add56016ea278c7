//! The files that an app is run from.

use serde::{Deserialize, Serialize};

/// The ability of an agent to make an app's artifact ready before it starts a replica.
pub const ABILITY_ARTIFACT: &str = "artifact";

/// A program, or an archive with one in it, that is not on the hosts yet: where it is, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Artifact {
    /// `file:`, `http:`, `https:` or `s3:`.
    pub url: String,
    /// The SHA-256 of its bytes, as 64 hexadecimal digits. Only a `file:` may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
