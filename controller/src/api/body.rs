//! Bodies of calls: strict JSON, bounded in size and in time.
//!
//! The Content-Type is not looked at: `curl -d` sends a form's. A body that is too large is read to its end all the same, for as
//! long as a client may wait, because a client that is still sending when the connection closes may lose the answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The most bytes of a body.
pub const BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(2);

/// What a call takes.
pub trait Call: DeserializeOwned {
    /// A body that is right.
    const EXAMPLE: &'static str;
}

/// The bytes of a body, for a call that reads them itself.
pub async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    read(&head.headers, body).await
}

/// Reads a call's body.
pub async fn json<T: Call>(request: Request) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    parse(&read(&head.headers, body).await?)
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BYTES_MAX} bytes; no call takes so much")).closing()
}

async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // RFC 9110 section 10.1.1: such a client sends nothing before it is told to.
    let asks_first = headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if asks_first && declared.is_some_and(|length| length > BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut read = BytesMut::new();
    let mut is_too_large = false;
    let arrival = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")).closing())?;
            let Ok(data) = frame.into_data() else { continue };
            if is_too_large || read.len() + data.len() > BYTES_MAX {
                is_too_large = true;
                read = BytesMut::new();
            } else {
                read.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(ARRIVAL, arrival).await;
    if is_too_large {
        return Err(too_large());
    }
    match outcome {
        Ok(Ok(())) => Ok(read.freeze()),
        Ok(Err(problem)) => Err(problem),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s; send it whole", ARRIVAL.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).closing())
        }
    }
}

fn parse<T: Call>(body: &[u8]) -> Result<T, Problem> {
    let refused = |what: &dyn std::fmt::Display| Problem::bad_request(format!("{what}; send JSON such as {}", T::EXAMPLE));
    let text = std::str::from_utf8(body).map_err(|error| refused(&format!("the body is not UTF-8 (at byte {})", error.valid_up_to())))?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Err(refused(&"the body is empty"));
    }
    // serde takes an array for a struct, its elements for the fields in their order.
    if !text.starts_with('{') {
        return Err(refused(&"the body is no JSON object"));
    }
    serde_json::from_str(text).map_err(|error| refused(&format!("the body is not what this call takes: {error}")))
}
