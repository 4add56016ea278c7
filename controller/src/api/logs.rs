//! The output of a replica, passed on from its agent as it comes.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use cluster::ReplicaId;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};

use super::problem::Problem;
use super::segment::Segment;
use super::{Api, streams};
use crate::link::Passed;

/// The most lines that can be asked for.
const TAIL_MAX: u64 = 1_000_000;
/// How much of an agent's refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Query {
    tail: Option<u64>,
    follow: bool,
}

/// The output of a replica: standard output and standard error.
#[utoipa::path(get, path = "/v1/replicas/{id}/logs", tag = "replicas", params(
    ("id" = String, Path, description = "The replica's id"),
    ("tail" = Option<u64>, Query, description = "Only so many of its last lines"),
    ("follow" = Option<bool>, Query, description = "Go on with what it writes from now on"),
), responses(
    (status = 200, description = "Its output", content_type = "text/plain", body = String),
    (status = 400, description = "Not a replica's id, or an unknown parameter", body = Problem),
    (status = 404, description = "No replica has this id", body = Problem),
    (status = 503, description = "Its agent does not answer", body = Problem),
))]
pub async fn logs(State(api): State<Api>, Segment(id): Segment, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let id: ReplicaId = id.parse().map_err(|error: cluster::id::BadId| Problem::bad_request(error.to_string()))?;
    let query = Query::parse(query.as_deref().unwrap_or_default()).map_err(Problem::bad_request)?;
    let slot = if query.follow { Some(streams::slot(&api)?) } else { None };
    let link = api.control.link_of(id).await?;
    let link = link.ok_or_else(|| Problem::not_found(format!("no replica has the id {id}; GET /status lists the replicas")))?;
    let answer = link
        .logs(id, &query.to_string())
        .await
        .map_err(|error| Problem::unavailable(format!("{error}; try again when its node is ready")))?;
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Err(refused(head.status, body, id).await);
    }
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

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("tail", number) => {
                    let fits = |tail: &u64| *tail <= TAIL_MAX && number.bytes().all(|byte| byte.is_ascii_digit());
                    let tail = number.parse().ok().filter(fits);
                    query.tail = Some(tail.ok_or_else(|| format!("tail takes a whole number from 0 to {TAIL_MAX}, as in ?tail=100"))?);
                }
                ("follow", "" | "true") => query.follow = true,
                ("follow", "false") => query.follow = false,
                ("follow", _) => return Err("follow takes true or false, as in ?follow=true".to_owned()),
                (other, _) => {
                    return Err(format!(
                        "there is no parameter \"{}\"; logs take ?tail=N and ?follow=true",
                        other.chars().take(64).collect::<String>()
                    ));
                }
            }
        }
        Ok(query)
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(tail) = self.tail {
            write!(f, "tail={tail}&")?;
        }
        write!(f, "follow={}", self.follow)
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn parameters_are_few_and_strict() {
        for (text, tail, follow) in
            [("", None, false), ("tail=5", Some(5), false), ("follow", None, true), ("tail=0&follow=true", Some(0), true)]
        {
            assert_eq!(Query::parse(text), Ok(Query { tail, follow }), "{text}");
        }
        for text in ["tail=", "tail=-1", "tail=+1", "tail=1.0", "tail=99999999999999999999", "follow=yes", "x", "tail=1&x=2", "Tail=1"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
