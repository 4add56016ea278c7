//! The answers that the gateway makes by itself: problem details (RFC 9457).

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::answer::AnswerBody;
use crate::client::Client;

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

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into(), is_passing: false }
    }

    /// 503 with `Retry-After: 1`.
    pub(crate) fn passing(detail: impl Into<String>) -> Self {
        Problem { status: StatusCode::SERVICE_UNAVAILABLE, detail: detail.into(), is_passing: true }
    }

    pub(crate) fn into_answer(self, client: &Rc<Client>) -> Response<AnswerBody> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let details = Details { r#type: "about:blank", title, status: self.status.as_u16(), detail: &self.detail };
        // A struct of texts and a number always serialises.
        let json = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = Response::new(AnswerBody::whole(Bytes::from(json), client));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.is_passing {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
