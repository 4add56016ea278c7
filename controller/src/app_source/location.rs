//! Where an app source is: a bucket, a directory, or the index file of a web server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

/// Where an app source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/prefix`: everything below the prefix that ends in `.toml`.
    Bucket {
        /// Its name.
        bucket: String,
        /// What all names begin with, without slashes at its ends; perhaps empty.
        prefix: String,
    },
    /// `dir:///path`: everything below it that ends in `.toml`.
    Directory(PathBuf),
    /// `https://host/index`: a file that names others, one a line, relative to it.
    Index(Url),
}

/// A text that is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no app source: {why}; use s3://BUCKET/PREFIX, dir:///PATH, or https://HOST/INDEX")]
pub struct NoLocation {
    text: String,
    why: &'static str,
}

impl FromStr for Location {
    type Err = NoLocation;
    fn from_str(text: &str) -> Result<Self, NoLocation> {
        // What stands in front of an @ may be a password.
        let shown: String = text.chars().take(120).collect();
        let shown = match (shown.find("://"), shown.rfind('@')) {
            (Some(at), Some(end)) if end > at => format!("{}://…{}", &shown[..at], &shown[end..]),
            _ => shown,
        };
        let fault = |why| Err(NoLocation { text: shown.clone(), why });
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
                return fault("it names no bucket");
            }
            let prefix = prefix.trim_end_matches('/');
            if object_store::path::Path::parse(prefix).is_err() || prefix.starts_with('/') || prefix.contains(['?', '#']) {
                return fault("what follows the bucket is no prefix");
            }
            return Ok(Location::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if let Some(path) = text.strip_prefix("dir://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Location::Directory(path)) } else { fault("a directory is named by its absolute path") };
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let Ok(url) = Url::parse(text) else { return fault("it cannot be read as a URL") };
            if !url.username().is_empty() || url.password().is_some() {
                return fault("a URL with a password in it would be shown to everybody");
            }
            if url.query().is_some() || url.fragment().is_some() || url.path().ends_with('/') {
                return fault("it must name the index file, without ? and #");
            }
            return Ok(Location::Index(url));
        }
        fault("its scheme is none of these")
    }
}

/// As it is shown, and as origins of apps name it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Location::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Directory(path) => write!(f, "dir://{}", path.display()),
            Location::Index(url) => f.write_str(url.as_str()),
        }
    }
}

impl Location {
    /// It is read in the clear, from another host.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let Location::Index(url) = self else { return false };
        let host = url.host_str().unwrap_or_default();
        let is_loopback = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        url.scheme() == "http" && !is_loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_as_it_was_named() {
        for text in
            ["s3://apps", "s3://apps/prod/eu", "dir:///etc/ostler/apps", "https://example.com/apps/index.txt", "http://127.0.0.1:8080/i"]
        {
            assert_eq!(text.parse::<Location>().map(|location| location.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("s3://apps/prod/".parse::<Location>().map(|location| location.to_string()), Ok("s3://apps/prod".to_owned()));
    }

    #[test]
    fn what_is_no_location_is_refused_without_its_password() {
        for bad in [
            "",
            "apps",
            "/etc/apps",
            "dir://etc",
            "s3://",
            "s3:///x",
            "s3://a b",
            "s3://a//b",
            "ftp://x/y",
            "https://",
            "https://x/",
            "https://x/i?k=v",
            "s3://a/b?c",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
        let error = "https://me:geheim@example.com/i".parse::<Location>().expect_err("it has a password").to_string();
        assert!(!error.contains("geheim"), "{error}");
        let error = "s3://me:geheim@bucket/i".parse::<Location>().expect_err("it has a password").to_string();
        assert!(!error.contains("geheim"), "{error}");
    }

    #[test]
    fn only_plain_http_to_another_host_is_in_the_clear() {
        let is_clear = |text: &str| text.parse::<Location>().map(|location| location.is_clear());
        assert_eq!(is_clear("http://example.com/i"), Ok(true));
        for text in ["http://127.0.0.1:1/i", "http://[::1]/i", "http://localhost/i", "https://example.com/i", "s3://b"] {
            assert_eq!(is_clear(text), Ok(false), "{text}");
        }
    }
}
