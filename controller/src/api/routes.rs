//! The routing table, for gateways that are not in this process and for people.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use cluster::route::RoutingTable;
use http::{HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::{Api, streams};

/// An empty line comes when nothing else did for so long: a reader that hears nothing knows that nobody is there, and nobody
/// between takes the connection for idle.
const REST: Duration = Duration::from_secs(10);

/// The routing table: a line of JSON now, and another for each later version.
///
/// A reader that is slower than the changes gets the latest version and misses those between. Empty lines mean nothing.
#[utoipa::path(get, path = "/v1/routes", tag = "cluster", responses(
    (status = 200, description = "Lines of JSON, one for each version", content_type = "application/x-ndjson", body = String),
    (status = 503, description = "Too many read along", body = Problem),
))]
pub async fn routes(State(api): State<Api>) -> Result<Response, Problem> {
    let mut tables = api.sight.tables.clone();
    tables.mark_changed();
    let reader = Reader { tables, end: api.end.clone(), _slot: streams::slot(&api)? };
    let lines = futures_util::stream::unfold(reader, |mut reader| async move {
        let line = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), reader))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Reader {
    tables: watch::Receiver<Arc<RoutingTable>>,
    end: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        match self.end.run_until_cancelled(tokio::time::timeout(REST, self.tables.changed())).await? {
            Ok(Ok(())) => {
                let mut line = serde_json::to_vec(&**self.tables.borrow_and_update()).ok()?;
                line.push(b'\n');
                Some(line.into())
            }
            Ok(Err(_)) => None,
            Err(_) => Some(Bytes::from_static(b"\n")),
        }
    }
}
