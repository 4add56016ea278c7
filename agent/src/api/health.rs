//! `POST /v1/replicas/{id}/health/{token}`: a replica says how it is. It knows the URL from its environment, and nobody else does.

use std::time::Duration;

use cluster::health::Push;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::problem::Problem;
use crate::check;

const BODY_BYTES_MAX: usize = 4 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(2);

/// Reads what is said.
pub async fn read(body: Incoming) -> Result<Push, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail).and_close();
    let collected = timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let bytes = collected.map_err(|_| bad("the body did not arrive in time; send it again".to_owned()))?;
    let bytes = bytes.map_err(|e| bad(format!("say it in {BODY_BYTES_MAX} bytes: {e}")))?.to_bytes();
    check::read_push(&bytes).map_err(bad)
}
