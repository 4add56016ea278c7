//! The output of a replica, passed on from its agent as it comes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use cluster::ReplicaId;
use cluster::logs::Query;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};

use super::problem::Problem;
use super::segment::Segment;
use super::{Api, streams};
use crate::control::LinksFor;
use crate::link::{Error, Link, Passed};

/// How much of an agent's refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How many nodes are asked at a time for the output of a replica that is gone.
const ASKED_MAX: usize = 16;

/// The output of a replica: standard output and standard error. That of one that is gone is kept for a while.
#[utoipa::path(get, path = "/v1/replicas/{id}/logs", tag = "replicas", params(
    ("id" = String, Path, description = "The replica's id"),
    ("tail" = Option<u64>, Query, description = "Only so many of its last lines"),
    ("follow" = Option<bool>, Query, description = "Go on with what it writes from now on"),
    ("since" = Option<String>, Query, description = "Nothing older than this time (RFC 3339) or than so long ago, as in 10m"),
    ("timestamps" = Option<bool>, Query, description = "Each line begins with its time and its stream"),
    ("stream" = Option<String>, Query, description = "stdout or stderr; both without it"),
), responses(
    (status = 200, description = "Its output", content_type = "text/plain", body = String),
    (status = 400, description = "Not a replica's id, or an unknown parameter", body = Problem),
    (status = 404, description = "No replica has this id, and no output of one is kept", body = Problem),
    (status = 503, description = "Its agent does not answer", body = Problem),
))]
pub async fn logs(State(api): State<Api>, Segment(id): Segment, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let id: ReplicaId = id.parse().map_err(|error: cluster::id::BadId| Problem::bad_request(error.to_string()))?;
    let query = Query::parse(query.as_deref().unwrap_or_default()).map_err(Problem::bad_request)?;
    let slot = if query.follow { Some(streams::slot(&api)?) } else { None };
    let answer = match api.control.links_for(id).await? {
        LinksFor::One(link) => of_one(&*link, id, query).await?,
        LinksFor::Any(links) => of_any(links, id, query).await?,
    };
    let (head, body) = answer.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).cloned();
    let body = match slot {
        Some(slot) => streams::until_the_end(&api, body, slot),
        None => Body::new(body),
    };
    let mut response = Response::new(body);
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind.unwrap_or(plain));
    // What a program writes is not for a browser to take for a page.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn of_one(link: &dyn Link, id: ReplicaId, query: Query) -> Result<http::Response<Passed>, Problem> {
    let answer = link.logs(id, &query.to_string()).await;
    let answer = answer.map_err(|error| Problem::unavailable(format!("{error}; try again when its node is ready")))?;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    Err(refused(head.status, body, id).await)
}

fn ask(link: Arc<dyn Link>, id: ReplicaId, query: Query) -> BoxFuture<'static, Result<http::Response<Passed>, Error>> {
    Box::pin(async move { link.logs(id, &query.to_string()).await })
}

/// What runs is all that a controller knows. Who had a replica that is gone is asked of every node.
async fn of_any(links: Vec<Arc<dyn Link>>, id: ReplicaId, query: Query) -> Result<http::Response<Passed>, Problem> {
    let asked: Vec<BoxFuture<'static, _>> = links.into_iter().map(|link| ask(link, id, query)).collect();
    let mut answers = futures_util::stream::iter(asked).buffer_unordered(ASKED_MAX);
    let mut silent: Option<(usize, Error)> = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => return Ok(answer),
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {}
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                return Err(refused(head.status, body, id).await);
            }
            Err(error) => silent = Some((silent.map_or(1, |(count, _)| count + 1), error)),
        }
    }
    match silent {
        None => Err(Problem::not_found(format!(
            "no replica has the id {id}, and no node has output of one; GET /status lists the replicas, and what one wrote is kept for a day after its end"
        ))),
        Some((count, error)) => Err(Problem::unavailable(format!(
            "no node that answers has anything of replica {id}, and {count} did not answer ({error}); try again when all nodes are ready"
        ))),
    }
}

async fn refused(status: StatusCode, body: Passed, id: ReplicaId) -> Problem {
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), Limited::new(body, REFUSAL_BYTES_MAX).collect()).await;
    let bytes = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let detail = said.as_ref().and_then(|said| said.get("detail")).and_then(serde_json::Value::as_str);
    let detail = detail.map_or_else(|| format!("the agent of replica {id} answered {status}"), str::to_owned);
    match status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Problem::new(status, detail),
        _ => Problem::unavailable(detail),
    }
}
