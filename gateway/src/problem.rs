//! The answers that the gateway makes by itself: problem details (RFC 9457).

use http::StatusCode;
use serde::Serialize;

use crate::answer;
use crate::clock::Date;
use crate::fields;

/// Why a request is not answered by a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// A sentence: what failed, on what, what to do.
    pub(crate) detail: String,
    /// It is worth trying again at once.
    pub(crate) is_passing: bool,
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// How a problem is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) is_http10: bool,
    /// The client asked for the head alone.
    pub(crate) is_head: bool,
    /// The client's connection lives on.
    pub(crate) keeps_client: bool,
    pub(crate) date: Date,
}

/// Which methods there are is the app's affair; these any may have.
pub(crate) const METHODS_ALLOWED: &[u8] = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

impl Manner {
    /// Writes the end of a head of our own, and the body. Returns where the head ends.
    pub(crate) fn write_end(self, out: &mut Vec<u8>, body: &[u8]) -> usize {
        fields::write_number(out, b"content-length", body.len() as u64);
        // RFC 9110 section 6.6.1: an origin server with a clock says it.
        fields::write(out, b"date", &self.date);
        match (self.keeps_client, self.is_http10) {
            (false, _) => fields::write(out, b"connection", b"close"),
            (true, true) => fields::write(out, b"connection", b"keep-alive"),
            (true, false) => {}
        }
        out.extend_from_slice(b"\r\n");
        let end = out.len();
        if !self.is_head {
            out.extend_from_slice(body);
        }
        end
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into(), is_passing: false }
    }

    /// 503 with `Retry-After: 1`.
    pub(crate) fn passing(detail: impl Into<String>) -> Self {
        Problem { status: StatusCode::SERVICE_UNAVAILABLE, detail: detail.into(), is_passing: true }
    }

    /// Writes it as an answer. Returns how long its head is.
    pub(crate) fn write(&self, out: &mut Vec<u8>, manner: Manner) -> usize {
        let before = out.len();
        let title = self.status.canonical_reason().unwrap_or("Error");
        let details = Details { r#type: "about:blank", title, status: self.status.as_u16(), detail: &self.detail };
        // A struct of texts and a number always serialises.
        let json = serde_json::to_vec(&details).unwrap_or_default();
        answer::write_status_line(out, self.status);
        fields::write(out, b"content-type", b"application/problem+json");
        if self.is_passing {
            fields::write(out, b"retry-after", b"1");
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 section 15.5.6 wants the field.
            fields::write(out, b"allow", METHODS_ALLOWED);
        }
        manner.write_end(out, &json) - before
    }
}
