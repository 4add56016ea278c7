//! Heads and trailers between HTTP/2 and HTTP/1.1.
//!
//! What is written here as HTTP/1.1 is read by the gateway's own strict readers: so nothing is judged here that they judge. What must not
//! reach them is what would change its meaning on the way: a target that is no path, a field of the connection.

use std::mem::MaybeUninit;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use httparse::Status;

use crate::config;
use crate::fields::{self, Kind};
use crate::framing::{Delimiters, Framing};

/// The most fields of a head that was written by this gateway: those that it was made from, and its own.
pub(crate) const FIELDS_MAX: usize = config::FIELDS_MAX + 16;

/// A message that has no counterpart in the other version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be said in the other version of HTTP")]
pub(crate) struct Untranslatable;

/// Whether a field of this name is of the connection, and not of the message (RFC 9113 section 8.2.2).
pub(crate) fn is_of_connection(kind: Kind) -> bool {
    matches!(kind, Kind::Connection | Kind::TransferEncoding | Kind::Upgrade | Kind::Hop)
}

/// The head of a client's request, as one of HTTP/1.1. `has_body`: its stream goes on behind its head.
pub(crate) fn request_head(parts: &Parts, has_body: bool) -> Result<Vec<u8>, Untranslatable> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // RFC 9113 section 8.3.1: a path, or "*". A whole URL here would name a host beside :authority. CONNECT has none, and is refused.
    let target = if parts.method == http::Method::CONNECT { "*" } else { path };
    if !target.starts_with('/') && target != "*" {
        return Err(Untranslatable);
    }
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // RFC 9113 section 8.3.1: :authority counts, whatever Host says.
    if let Some(authority) = parts.uri.authority() {
        fields::write(&mut out, b"host", authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        let kind = fields::kind(name.as_str().as_bytes());
        let is_replaced = (kind == Kind::Host && parts.uri.authority().is_some()) || *name == header::COOKIE;
        if !is_replaced && !is_of_connection(kind) {
            fields::write(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    // RFC 9113 section 8.2.3: crumbs are joined before they go where there are none.
    let mut crumbs = parts.headers.get_all(header::COOKIE).iter();
    if let Some(first) = crumbs.next() {
        out.extend_from_slice(b"cookie: ");
        out.extend_from_slice(first.as_bytes());
        for crumb in crumbs {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// An answer of HTTP/1.1, as one of HTTP/2.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: http::Response<()>,
    pub(crate) framing: Framing,
}

/// Reads the head of an answer of HTTP/1.1 that was written by this gateway.
pub(crate) fn answer(head: &[u8], is_head: bool) -> Result<Answer, Untranslatable> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Ok(Status::Complete(_)) = config.parse_response_with_uninit_headers(&mut parsed, head, &mut fields) else {
        return Err(Untranslatable);
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Untranslatable)?;
    let (headers, delimiters) = take_fields(parsed.headers)?;
    let is_bodiless = is_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = if is_bodiless { Framing::Length(0) } else { delimiters.framing(Framing::UntilEnd) };
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(Answer { response, framing })
}

/// The fields that go on, and what they say of the body.
pub(crate) fn take_fields(fields: &[httparse::Header<'_>]) -> Result<(HeaderMap, Delimiters), Untranslatable> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut delimiters = Delimiters::default();
    for field in fields {
        let kind = fields::kind(field.name.as_bytes());
        match kind {
            Kind::ContentLength => delimiters.content_length(field.value).map_err(|_| Untranslatable)?,
            Kind::TransferEncoding => delimiters.transfer_encoding(field.value, false).map_err(|_| Untranslatable)?,
            _ => {}
        }
        if !is_of_connection(kind) {
            append(&mut headers, field)?;
        }
    }
    Ok((headers, delimiters))
}

/// The trailers of a body of HTTP/1.1, from their lines.
pub(crate) fn trailers(lines: &[u8]) -> Result<HeaderMap, Untranslatable> {
    let mut section = Vec::with_capacity(lines.len() + 2);
    section.extend_from_slice(lines);
    section.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut fields) else { return Err(Untranslatable) };
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        append(&mut headers, field)?;
    }
    Ok(headers)
}

fn append(headers: &mut HeaderMap, field: &httparse::Header<'_>) -> Result<(), Untranslatable> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Untranslatable)?;
    let value = HeaderValue::from_bytes(field.value).map_err(|_| Untranslatable)?;
    headers.try_append(name, value).map_err(|_| Untranslatable)?;
    Ok(())
}

/// The lines of fields.
pub(crate) fn lines(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        fields::write(&mut lines, name.as_str().as_bytes(), value.as_bytes());
    }
    lines
}
