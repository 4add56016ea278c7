//! Where a program comes from, when it is not on the host already.
//!
//! Absent from here: fetching, checking and unpacking it. That is the agent's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The ability of an agent to fetch what a spec names: [`Artifact`].
pub const ABILITY_ARTIFACT: &str = "artifact";
/// The most bytes of a URL.
const URL_BYTES_MAX: usize = 2_048;

/// A file or an archive that is fetched before a replica starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Where it is.
    pub url: ArtifactUrl,
    /// What its bytes must add up to. Only that of a `file:` URL may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

impl Artifact {
    /// Whether its digest may be absent: who can change a file of the host can change what runs there anyway.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sha256.is_some() || self.url.is_file()
    }
}

/// Where an artifact is: `file:///absolute/path`, `http://…`, `https://…` or `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactUrl(String);

/// A text that names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArtifactUrl {
    /// No scheme that is known.
    #[error("\"{0}\" has none of the schemes that an artifact can be fetched by: use file:///PATH, http://, https:// or s3://BUCKET/KEY")]
    Scheme(String),
    /// Nothing can be at such a place.
    #[error("\"{url}\" names no artifact: {why}")]
    Place {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ArtifactUrl {
    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// It names a file of the agent's own host.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.starts_with("file:")
    }
}

impl FromStr for ArtifactUrl {
    type Err = BadArtifactUrl;
    fn from_str(text: &str) -> Result<Self, BadArtifactUrl> {
        let shown = || text.chars().take(80).collect::<String>();
        let place = |why| BadArtifactUrl::Place { url: shown(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| BadArtifactUrl::Scheme(shown()))?;
        if !["file", "http", "https", "s3"].contains(&scheme) {
            return Err(BadArtifactUrl::Scheme(shown()));
        }
        if text.len() > URL_BYTES_MAX {
            return Err(place("it is longer than 2048 bytes"));
        }
        // A fragment is never sent (RFC 9110 section 4.1), so two URLs would be one.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(place("it may hold printable ASCII without spaces and #; write others as %XX"));
        }
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let file = path.split('?').next().unwrap_or_default();
        if scheme == "file" && !host.is_empty() {
            return Err(place("a file is on the agent's host: write three slashes, as in file:///srv/shop.tar.gz"));
        }
        if scheme != "file" && host.is_empty() {
            return Err(place(if scheme == "s3" { "the bucket is missing" } else { "the host is missing" }));
        }
        // A password in a spec is a password in every log.
        if host.contains('@') {
            let why = "leave user and password out of it; they would show wherever the spec does";
            return Err(BadArtifactUrl::Place { url: format!("{scheme}://\u{2026}@\u{2026}"), why });
        }
        if file.is_empty() || file.ends_with('/') {
            return Err(place("it must end with the name of a file"));
        }
        if file.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(place("it must not hold . or .. as part of its path"));
        }
        Ok(ArtifactUrl(text.to_owned()))
    }
}

impl TryFrom<String> for ArtifactUrl {
    type Error = BadArtifactUrl;
    fn try_from(text: String) -> Result<Self, BadArtifactUrl> {
        text.parse()
    }
}

impl From<ArtifactUrl> for String {
    fn from(url: ArtifactUrl) -> String {
        url.0
    }
}

impl fmt::Display for ArtifactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 digest (FIPS 180-4): 64 hexadecimal digits, kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest has 64 hexadecimal digits, and this {0}; `sha256sum FILE` prints it")]
pub struct BadSha256(String);

impl Sha256 {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = BadSha256;
    fn from_str(text: &str) -> Result<Self, BadSha256> {
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(BadSha256(format!("has {odd:?} in it")));
        }
        if text.len() != 64 {
            return Err(BadSha256(format!("has {}", text.len())));
        }
        Ok(Sha256(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = BadSha256;
    fn try_from(text: String) -> Result<Self, BadSha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_a_file_at_a_place_that_can_be_fetched_from() {
        for good in ["file:///srv/shop", "http://a:8080/x.zip", "https://a.example/x.tar.gz?v=1", "s3://bucket/some/key.tar.zst"] {
            assert_eq!(good.parse::<ArtifactUrl>().map(|url| url.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "shop",
            "/srv/shop",
            "ftp://a/x",
            "file://srv/shop",
            "file:///",
            "http:///x",
            "http://a",
            "http://a/",
            "http://a/x/",
            "s3://bucket",
            "s3:///key",
            "https://a/x y",
            "https://a/x#y",
            "https://me:secret@a/x",
            "https://a/../x",
            "https://a/\u{e4}",
        ] {
            assert!(bad.parse::<ArtifactUrl>().is_err(), "{bad}");
        }
        assert!(format!("https://a/{}", "x".repeat(URL_BYTES_MAX)).parse::<ArtifactUrl>().is_err());
    }

    #[test]
    fn a_digest_has_64_hexadecimal_digits() {
        assert_eq!("AB".repeat(32).parse::<Sha256>().map(String::from), Ok("ab".repeat(32)));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_file_of_the_host_needs_no_digest() {
        let artifact = |url: &str, sha256: Option<&str>| -> Artifact {
            let sha256 = sha256.map(|text| text.parse().expect("a digest"));
            Artifact { url: url.parse().expect("a URL"), sha256 }
        };
        assert!(artifact("file:///srv/shop", None).is_complete());
        assert!(!artifact("https://a/x", None).is_complete());
        assert!(artifact("https://a/x", Some(&"0".repeat(64))).is_complete());
    }
}
