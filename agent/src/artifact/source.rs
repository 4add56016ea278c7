//! Where an artifact comes from, as its URL says it.

use std::path::PathBuf;

use url::Url;

use super::entry_name::check_part;

/// The longest name of a plain file, in bytes: it is part of a name in the cache.
const NAME_BYTES_MAX: usize = 128;
/// The most characters of a URL that are shown.
const SHOWN_MAX: usize = 200;

/// Why a URL names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No URL at all.
    #[error("its URL cannot be read ({0}); write it as in https://host/app.tar.gz")]
    NoUrl(url::ParseError),
    /// Another scheme.
    #[error("an agent fetches from file:, http:, https: and s3:, not from {0}:")]
    Scheme(String),
    /// A file of another host, or no absolute path.
    #[error("a file: URL names a file of the agent's own host; write it as in file:///srv/app.tar.gz")]
    NotLocal,
    /// No bucket or no key.
    #[error("an s3: URL has a bucket and a key; write it as in s3://bucket/app.tar.gz")]
    NoObject,
    /// A path with no file at its end.
    #[error("the last part of its URL's path is no name for a file: {0}")]
    NoName(String),
}

/// A place that an artifact can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of this host.
    File(PathBuf),
    /// A web server.
    Http(Url),
    /// A bucket of an object store that speaks as S3 does.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object in it, percent-encoded as in the URL.
        key: String,
    },
}

impl Source {
    /// What a URL names, and the name of the file at its end.
    pub fn parse(url: &str) -> Result<(Self, String), Error> {
        let url = Url::parse(url.trim()).map_err(Error::NoUrl)?;
        let source = match url.scheme() {
            "file" => Source::File(url.to_file_path().map_err(|()| Error::NotLocal)?),
            "http" | "https" => Source::Http(url.clone()),
            "s3" => {
                let key = url.path().trim_start_matches('/');
                let bucket = url.host_str().filter(|bucket| !bucket.is_empty() && !key.is_empty()).ok_or(Error::NoObject)?;
                Source::S3 { bucket: bucket.to_owned(), key: key.to_owned() }
            }
            other => return Err(Error::Scheme(other.to_owned())),
        };
        let name = match &source {
            Source::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned(),
            _ => decoded(url.path_segments().and_then(Iterator::last).unwrap_or_default()),
        };
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::NoName(format!("it is longer than {NAME_BYTES_MAX} bytes")));
        }
        check_part(&name).map_err(|e| Error::NoName(e.to_string()))?;
        Ok((source, name))
    }
}

/// Percent-encoding undone (RFC 3986 section 2.1). What is no UTF-8 then becomes nothing, which is no name.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_default()
}

/// A URL as it may be shown: without user, password, query and fragment, which may be secrets; and not too long.
pub fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url.trim()) else { return "(a URL that cannot be read)".to_owned() };
    // Refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    let text: String = url.as_str().chars().filter(|c| !c.is_control()).collect();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_scheme_names_its_place_and_the_file_at_its_end() {
        let of = |url: &str| Source::parse(url).unwrap();
        assert_eq!(of("https://h:8/a/web.tar.gz?sig=x").1, "web.tar.gz");
        assert_eq!(of("http://h/my%20app").1, "my app");
        let s3 = Source::S3 { bucket: "apps".into(), key: "a/b/web.zip".into() };
        assert_eq!(of("s3://apps/a/b/web.zip"), (s3, "web.zip".to_owned()));
        #[cfg(unix)]
        assert_eq!(of("file:///srv/a%20b/web"), (Source::File("/srv/a b/web".into()), "web".to_owned()));
    }

    #[test]
    fn what_names_no_artifact_is_refused_with_what_to_write() {
        let refused = |url: &str| Source::parse(url).unwrap_err().to_string();
        assert!(refused("web.tar.gz").contains("https://host/"));
        assert!(refused("ftp://h/x").contains("not from ftp:"));
        assert!(refused("file://other-host/x").contains("file:///"));
        for url in ["s3://bucket", "s3://bucket/", "s3:///key"] {
            assert!(refused(url).contains("bucket and a key") || refused(url).contains("read"), "{url}: {}", refused(url));
        }
        for url in
            ["https://h", "https://h/a/", "https://h/a%2Fb", "https://h/%2e%2e", "https://h/a%00b", "https://h/%ff", "https://h/a%5Cb"]
        {
            assert!(refused(url).contains("no name for a file"), "{url}: {}", refused(url));
        }
        assert!(refused(&format!("https://h/{}", "x".repeat(129))).contains("longer than"));
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        assert_eq!(shown("https://me:secret@h:8/a?token=secret#secret"), "https://h:8/a");
        assert_eq!(shown("s3://b/k"), "s3://b/k");
        assert_eq!(shown("secret"), "(a URL that cannot be read)");
        assert!(shown(&format!("https://h/{}", "x".repeat(1_000))).len() < 210);
    }
}
