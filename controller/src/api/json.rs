//! Answers as JSON.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::problem::Problem;

/// An answer of 200. It shows a moment: nobody between may keep it.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut json) => {
                // For those who read it in a terminal.
                json.push(b'\n');
                let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let keep = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                ([kind, keep], json).into_response()
            }
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer has no JSON form: {error}")).into_response(),
        }
    }
}
