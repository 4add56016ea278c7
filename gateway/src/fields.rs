//! Header fields that do not go through a gateway.
//!
//! RFC 9110 section 7.6.1: what concerns one connection is taken out of a message before it is forwarded, and so is what `Connection`
//! names; ours are added last, so that a client cannot have them removed (CVE-2024-45410). What a client says about
//! where its request came from (`Forwarded`, `X-Forwarded-*`, also spelled with underscores) is dropped: nobody has vouched for it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the fields of one connection said before they were taken out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stripped {
    /// The protocol that the sender would change to, or has changed to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The sender takes trailers.
    pub(crate) takes_trailers: bool,
    /// There was a transfer coding other than `chunked` alone.
    pub(crate) is_coded: bool,
}

/// What a field is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    EndToEnd,
    Connection,
    Hop,
    Claim,
}

fn kind(name: &HeaderName) -> Kind {
    match *name {
        CONNECTION => Kind::Connection,
        TE | TRANSFER_ENCODING | UPGRADE => Kind::Hop,
        EXPECT | FORWARDED => Kind::Claim,
        _ => match name.as_str().as_bytes() {
            b"keep-alive" | b"proxy-connection" | b"http2-settings" => Kind::Hop,
            // x-forwarded-anything, whatever stands for the hyphens.
            [b'x', b'-' | b'_', b'f', b'o', b'r', b'w', b'a', b'r', b'd', b'e', b'd', b'-' | b'_', ..] => Kind::Claim,
            _ => Kind::EndToEnd,
        },
    }
}

fn tokens<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers.get_all(name).iter()).any(|found| found.split(';').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(token)))
}

/// Takes out what concerns one connection. `claims`: also what only a gateway may say.
fn strip(headers: &mut HeaderMap, claims: bool) -> Stripped {
    let mut stripped = Stripped::default();
    let (mut has_connection, mut has_hop, mut has_claim) = (false, false, false);
    for name in headers.keys() {
        match kind(name) {
            Kind::EndToEnd => {}
            Kind::Connection => has_connection = true,
            Kind::Hop => has_hop = true,
            Kind::Claim => has_claim = true,
        }
    }
    if has_hop {
        if has_connection && has_token(headers, &CONNECTION, "upgrade") {
            stripped.upgrade = headers.get(UPGRADE).cloned();
        }
        stripped.takes_trailers = has_token(headers, &TE, "trailers");
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next() {
            stripped.is_coded = codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            // RFC 9112 section 6.1: with a transfer coding the length is what the coding says.
            headers.remove(CONTENT_LENGTH);
        }
    }
    if has_connection {
        strip_nominated(headers);
        headers.remove(CONNECTION);
    }
    if has_hop {
        for name in [TE, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
            headers.remove(name);
        }
    }
    if claims && has_claim {
        let dropped: Vec<HeaderName> = headers.keys().filter(|name| kind(name) == Kind::Claim).cloned().collect();
        for name in dropped {
            headers.remove(name);
        }
    }
    stripped
}

/// Takes out the fields that `Connection` names, but for those without which the message would be another one.
fn strip_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = tokens(headers.get_all(CONNECTION).iter())
        .filter(|token| !["keep-alive", "close", "upgrade", "te", ""].iter().any(|common| token.eq_ignore_ascii_case(common)))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// Makes the fields of a client's request those of our request to a replica, but for what [`Stripped`] tells.
pub(crate) fn strip_request(headers: &mut HeaderMap) -> Stripped {
    let mut stripped = strip(headers, true);
    // HTTP/2 in the clear would hide later requests from us.
    if stripped.upgrade.as_ref().is_some_and(|protocol| tokens(std::iter::once(protocol)).any(|token| token.eq_ignore_ascii_case("h2c"))) {
        stripped.upgrade = None;
    }
    stripped
}

/// Makes the fields of a replica's answer those of ours to the client.
pub(crate) fn strip_answer(headers: &mut HeaderMap) -> Stripped {
    let stripped = strip(headers, false);
    // "5, 5" and the like say the same twice (RFC 9110 section 8.6); hyper writes the length that it has read instead.
    if headers.get(CONTENT_LENGTH).is_some_and(|length| !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        headers.remove(CONTENT_LENGTH);
    }
    stripped
}

/// Takes out of trailers what may not go through in a head either.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers, true);
}

/// Says in a request to a replica where it comes from.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, client: HeaderValue, host: HeaderValue) {
    headers.insert(X_FORWARDED_FOR, client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_FORWARDED_HOST, host);
}

/// Says in a request to a replica what concerns our connection to it.
pub(crate) fn add_hop(headers: &mut HeaderMap, stripped: &Stripped) {
    if let Some(protocol) = &stripped.upgrade {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if stripped.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_concerns_one_connection_does_not_go_through() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Secret"),
            ("connection", "X-Other, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers;q=1, gzip"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("content-length", "3"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        let stripped = strip_request(&mut headers);
        assert_eq!(names(&headers), ["accept", "content-length", "host", "trailer"]);
        assert_eq!(stripped, Stripped { upgrade: None, takes_trailers: true, is_coded: false });
    }

    #[test]
    fn what_a_client_claims_of_its_origin_is_dropped_and_ours_cannot_be_removed() {
        let mut headers = map(&[
            ("connection", "x-forwarded-for, x-forwarded-host"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwardedness", "kept"),
        ]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["x-forwardedness"]);
        add_forwarded(&mut headers, HeaderValue::from_static("10.0.0.1"), HeaderValue::from_static("h"));
        assert_eq!(names(&headers), ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwardedness"]);
    }

    #[test]
    fn an_upgrade_counts_only_where_connection_names_it() {
        let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        let stripped = strip_request(&mut headers);
        assert_eq!(stripped.upgrade, Some(HeaderValue::from_static("websocket")));
        assert!(headers.is_empty());
        add_hop(&mut headers, &stripped);
        assert_eq!(names(&headers), ["connection", "upgrade"]);
        for fields in
            [&[("upgrade", "websocket")][..], &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "x")]]
        {
            let mut headers = map(fields);
            assert_eq!(strip_request(&mut headers).upgrade, None);
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn a_message_has_one_framing() {
        let mut headers = map(&[("transfer-encoding", "chunked"), ("content-length", "5")]);
        assert!(!strip_answer(&mut headers).is_coded);
        assert!(headers.is_empty());
        let mut headers = map(&[("transfer-encoding", "gzip, chunked")]);
        assert!(strip_answer(&mut headers).is_coded);
        let mut headers = map(&[("content-length", "5, 5")]);
        strip_answer(&mut headers);
        assert!(headers.is_empty());
    }
}
