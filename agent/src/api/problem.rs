//! Errors as `application/problem+json` (RFC 9457): `detail` says what to do.

use cluster::fence::Held;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;

/// An answer that says what is wrong.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    held: Option<Held>,
    allow: Option<&'static str>,
    upgrade: bool,
    close: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
}

impl Problem {
    /// A status and a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into(), held: None, allow: None, upgrade: false, close: false }
    }

    /// 409, with what is obeyed instead.
    #[must_use]
    pub fn with_held(mut self, held: Held) -> Self {
        self.held = Some(held);
        self
    }

    /// 405, with the methods that there are.
    pub fn method(allow: &'static str) -> Self {
        let detail = format!("this path does not have that method; use {allow}");
        Problem { allow: Some(allow), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 426.
    pub fn upgrade() -> Self {
        let detail = "a tunnel needs the header fields Connection: upgrade and Upgrade: ostler-tunnel";
        Problem { upgrade: true, ..Problem::new(StatusCode::UPGRADE_REQUIRED, detail) }
    }

    /// The rest of what the caller sends is not read: the connection ends.
    #[must_use]
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The answer.
    pub fn response(&self) -> Response<Body> {
        let document = Document {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            held: self.held,
        };
        let mut response = Response::new(Body::whole(serde_json::to_vec(&document).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.upgrade {
            headers.insert(UPGRADE, HeaderValue::from_static(super::tunnel::PROTOCOL));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
