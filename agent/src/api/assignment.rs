//! `PUT /v1/assignment`: reading one.
//!
//! The type of the content is not looked at: it is JSON or it is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cluster::wire::{ASSIGNMENT_BYTES_MAX, Assignment};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::problem::Problem;

/// For the whole body to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
/// For the rest of a body that is too large.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// Reads the body of a call: all of it, or a problem. `waits`: the caller sends no body before it is told to (Expect: 100-continue).
pub async fn read(mut body: Incoming, waits: bool) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    if body.size_hint().lower() > ASSIGNMENT_BYTES_MAX as u64 {
        return Err(too_large(body, waits).await);
    }
    let collected = timeout(BODY_DEADLINE, async {
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(broken)?.into_data().unwrap_or_default();
            if bytes.len() + data.len() > ASSIGNMENT_BYTES_MAX {
                return Ok(false);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(true)
    });
    match collected.await {
        Ok(Ok(true)) => Ok(bytes.freeze()),
        Ok(Ok(false)) => {
            drop(bytes);
            Err(too_large(body, false).await)
        }
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body of the call did not arrive in time; send it again").and_close()),
    }
}

fn broken(e: hyper::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("the body of the call broke off: {e}")).and_close()
}

/// A caller that is still sending sees the answer only when what it sends is taken: for a moment it is, and thrown away.
async fn too_large(mut body: Incoming, waits: bool) -> Problem {
    if !waits {
        let _ = timeout(DISCARD_DEADLINE, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    let detail = format!("the body is larger than {ASSIGNMENT_BYTES_MAX} bytes; give this node fewer replicas, or let them use fewer apps");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).and_close()
}

/// Understands an assignment.
pub fn parse(bytes: &[u8]) -> Result<Assignment, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let assignment: Assignment = serde_json::from_slice(bytes).map_err(|e| bad(format!("this is no assignment: {e}")))?;
    let mut ids = BTreeSet::new();
    match assignment.replicas.iter().find(|replica| !ids.insert(replica.id)) {
        Some(twice) => Err(bad(format!("the assignment names the replica {} twice; name each once", twice.id))),
        None => Ok(assignment),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CLUSTER: &str = r#""cluster":"0199b1c2-7d3e-7abc-8def-0123456789ab""#;

    #[test]
    fn what_a_newer_controller_says_is_understood() {
        let text = format!(r#"{{{CLUSTER},"epoch":1,"generation":2,"lease_ms":3000,"specs":{{}},"replicas":[],"new":{{"a":[1]}}}}"#);
        assert_eq!(parse(text.as_bytes()).unwrap().stamp.generation, 2);
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        let id = "0199b1c2-7d3e-7abc-8def-0123456789ac";
        let replica = format!(r#"{{"id":"{id}","app":"worker","revision":1,"phase":"run"}}"#);
        let with = |rest: &str| format!("{{{CLUSTER},{rest}}}");
        let cases = [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "[".repeat(100_000),
            format!("{{\"a\":{}", "[".repeat(100_000)),
            with(r#""epoch":1,"generation":2,"lease_ms":3000,"specs":{}"#),
            with(r#""epoch":-1,"generation":2,"lease_ms":3000,"specs":{},"replicas":[]"#),
            with(r#""epoch":1.5,"generation":2,"lease_ms":3000,"specs":{},"replicas":[]"#),
            with(r#""epoch":"1","generation":2,"lease_ms":3000,"specs":{},"replicas":[]"#),
            with(r#""epoch":1,"generation":2,"lease_ms":3000,"specs":{},"replicas":[{"id":"../x"}]"#),
            with(&format!(r#""epoch":1,"generation":2,"lease_ms":3000,"specs":{{}},"replicas":[{replica},{replica}]"#)),
            with(&format!(r#""epoch":1,"generation":2,"lease_ms":3000,"specs":{{}},"replicas":[{}]"#, replica.replace("run", "walk"))),
        ];
        for text in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().response().status(), 400, "{}", &text[..text.len().min(80)]);
        }
        assert_eq!(parse(b"\xff\xfe").unwrap_err().response().status(), 400);
    }
}
