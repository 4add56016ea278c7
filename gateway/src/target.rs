//! The target of a request and the host that it is for: RFC 9112 section 3.2, RFC 3986 sections 3.2 and 3.3.

use std::net::Ipv6Addr;

/// A target as it goes on: in origin form, or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The host that the target itself named; it counts whatever the Host field says.
    pub(crate) authority: Option<&'a str>,
    /// The path lacks its first `/`.
    pub(crate) lacks_slash: bool,
    pub(crate) path: &'a str,
}

/// Why a target or a host is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the request target must be a path that begins with \"/\", or a URL of http")]
    Form,
    #[error("the request target has a fragment")]
    Fragment,
    #[error("the host in the request target is malformed")]
    Authority,
}

/// Reads a target.
pub(crate) fn read<'a>(method: &str, target: &'a str) -> Result<Target<'a>, Error> {
    if target.contains('#') {
        return Err(Error::Fragment);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target { authority: None, lacks_slash: false, path: target });
    }
    let (scheme, rest) = target.split_once("://").ok_or(Error::Form)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Error::Form);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_host(authority.as_bytes()) {
        return Err(Error::Authority);
    }
    Ok(match path {
        // RFC 9112 section 3.2.4: a server as a whole.
        "" if method == "OPTIONS" => Target { authority: Some(authority), lacks_slash: false, path: "*" },
        _ => Target { authority: Some(authority), lacks_slash: !path.starts_with('/'), path },
    })
}

/// Whether this is a host, perhaps with a port. Stricter than the grammar: no percent encoding and none of its rarer delimiters, which one
/// program reads so and another reads otherwise.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let is_address = std::str::from_utf8(&rest[..end]).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (None, &rest[end + 1..])
        }
        _ => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            (Some(&value[..end]), &value[end..])
        }
    };
    let is_name =
        |name: &[u8]| !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    host.is_none_or(is_name) && is_port(port)
}

/// Whether this is nothing, or a colon and a port, which may be left out.
fn is_port(value: &[u8]) -> bool {
    match value {
        [] | [b':'] => true,
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(authority: Option<&'static str>, lacks_slash: bool, path: &'static str) -> Result<Target<'static>, Error> {
        Ok(Target { authority, lacks_slash, path })
    }

    #[test]
    fn a_target_is_a_path_or_a_url() {
        assert_eq!(read("GET", "/a?b"), target(None, false, "/a?b"));
        assert_eq!(read("GET", "//a//b"), target(None, false, "//a//b"));
        assert_eq!(read("OPTIONS", "*"), target(None, false, "*"));
        assert_eq!(read("GET", "http://h.test:81/x?y"), target(Some("h.test:81"), false, "/x?y"));
        assert_eq!(read("GET", "HTTP://h"), target(Some("h"), true, ""));
        assert_eq!(read("GET", "http://h?q=http://x/"), target(Some("h"), true, "?q=http://x/"));
        assert_eq!(read("OPTIONS", "http://h"), target(Some("h"), false, "*"));
        for (bad, error) in [
            ("*", Error::Form),
            ("nowhere", Error::Form),
            ("h.test:80", Error::Form),
            ("?q", Error::Form),
            ("ftp://h/", Error::Form),
            ("/a#b", Error::Fragment),
            ("http://", Error::Authority),
            ("http:///x", Error::Authority),
            ("http://user@h/", Error::Authority),
            ("http://h:port/", Error::Authority),
        ] {
            assert_eq!(read("GET", bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["a", "a.test:80", "127.0.0.1", "[::1]", "[::1]:8000", "under_score", "a:", "a:65535"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in
            ["", ":80", "a b", "a/b", "a@b", "a,b", "[::1", "::1", "[x]", "a:65536", "a:+1", "a:80:80", "a\\b", "a?b", "a%00", "[::1]x"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
