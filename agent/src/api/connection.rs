//! One connection: who may ask what, and the answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use cluster::access::{self, Provenance};
use cluster::fence::Refusal;
use cluster::logs::Query;
use cluster::wire::Stamp;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::endpoint::Endpoint;
use super::problem::Problem;
use super::serve::Server;
use super::{assignment, endpoints, health, tunnel};
use crate::logs;
use crate::os;
use crate::owner::{Busy, Refused, Request as Ask};

/// Chunks of a log that wait for its reader.
const LOG_CHUNKS_MAX: usize = 4;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Connection {
    /// What all connections share.
    pub server: Arc<Server>,
    /// The other end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// Ends the connection.
    pub cut: CancellationToken,
    /// Whether the other end may command, once that was looked up.
    pub may_command: OnceLock<bool>,
}

impl Connection {
    /// Answers one call.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(self.try_answer(request).await.unwrap_or_else(|problem| problem.response()))
    }

    async fn try_answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        self.check_provenance(&request)?;
        let endpoint = Endpoint::find(request.method(), request.uri().path())?;
        if !endpoint.is_open() && !self.may_command() {
            let detail = "an agent takes commands only from processes of root and of its own user";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail).and_close());
        }
        let door = &self.server.door;
        match endpoint {
            Endpoint::Health => Ok(text("text/plain; charset=utf-8", "ok\n")),
            Endpoint::Metrics => {
                let figures = door.ask(Ask::Metrics).await.map_err(busy)?;
                Ok(text("text/plain; version=0.0.4; charset=utf-8", figures))
            }
            Endpoint::Node => {
                let facts = door.ask(Ask::Node).await.map_err(busy)?;
                json(StatusCode::OK, &facts)
            }
            Endpoint::Observe => {
                let cut = self.cut.clone();
                let lines = door.ask(|reply| Ask::Observe(cut, reply)).await.map_err(busy)?;
                let too_many = || {
                    let detail = format!("this agent has {} readers of /v1/observe already; end one", crate::observe::OBSERVERS_MAX);
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                };
                Ok(stream("application/x-ndjson", lines.ok_or_else(too_many)?))
            }
            Endpoint::Assignment => {
                let waits = request.headers().contains_key(EXPECT);
                self.assign(request.into_body(), waits).await
            }
            Endpoint::Endpoints => {
                let waits = request.headers().contains_key(EXPECT);
                self.take_endpoints(request.into_body(), waits).await
            }
            Endpoint::Logs(id) => {
                let query = Query::parse(request.uri().query().unwrap_or_default())
                    .map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, detail))?;
                let source = door.ask(|reply| Ask::Log(id, reply)).await.map_err(busy)?.ok_or_else(|| no_log(id))?;
                let Ok(permit) = Arc::clone(&self.server.log_readers).try_acquire_owned() else {
                    return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many readers of logs; end one"));
                };
                let (sender, chunks) = mpsc::channel(LOG_CHUNKS_MAX);
                let end = self.server.end.clone();
                self.server.tasks.spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        biased;
                        () = end.cancelled() => {}
                        () = logs::send(source, query, sender) => {}
                    }
                });
                Ok(stream("text/plain; charset=utf-8", chunks))
            }
            Endpoint::Push(id) => {
                let token = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                let push = health::read(request.into_body()).await?;
                if door.ask(|reply| Ask::Push(id, token, push, reply)).await.map_err(busy)? {
                    let mut response = text("text/plain; charset=utf-8", "");
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    Ok(response)
                } else {
                    let detail = "this is not the URL of a process that runs now; call the one in OSTLER_HEALTH_URL, and again if it has just started";
                    Err(Problem::new(StatusCode::NOT_FOUND, detail))
                }
            }
            Endpoint::Tunnel(id) => {
                if !tunnel::is_asked_for(request.headers()) {
                    return Err(Problem::upgrade());
                }
                let replica = door.ask(|reply| Ask::Replica(id, reply)).await.map_err(busy)?.ok_or_else(|| no_replica(id))?;
                let not_there = || Problem::new(StatusCode::BAD_GATEWAY, format!("the replica {id} has no process now; try another"));
                tunnel::open(request, replica.port.ok_or_else(not_there)?, &self.server.tasks, self.server.end.clone()).await
            }
        }
    }

    async fn assign(&self, body: Incoming, waits: bool) -> Result<Response<Body>, Problem> {
        // A body may be large: a few at a time.
        let Ok(_permit) = self.server.large_bodies.acquire().await else { return Err(busy(Busy)) };
        let assignment = assignment::parse(&assignment::read(body, waits).await?)?;
        accepted(self.server.door.ask(|reply| Ask::Assign(Box::new(assignment), reply)).await.map_err(busy)?)
    }

    async fn take_endpoints(&self, body: Incoming, waits: bool) -> Result<Response<Body>, Problem> {
        let Ok(_permit) = self.server.large_bodies.acquire().await else { return Err(busy(Busy)) };
        let endpoints = endpoints::parse(&assignment::read(body, waits).await?)?;
        accepted(self.server.door.ask(|reply| Ask::Endpoints(Box::new(endpoints), reply)).await.map_err(busy)?)
    }

    fn check_provenance(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let headers = request.headers();
        let absolute = request.uri().authority().map(http::uri::Authority::as_str);
        let call = Provenance {
            host: absolute.or_else(|| only(headers, &HOST)),
            origin: lossless(headers, &ORIGIN),
            sec_fetch_site: lossless(headers, &HeaderName::from_static("sec-fetch-site")),
        };
        access::check(call, &self.server.allow_host).map_err(|e| Problem::new(StatusCode::FORBIDDEN, e.to_string()))
    }

    /// Peers that are not on loopback reach this program only when it was started with --insecure.
    fn may_command(&self) -> bool {
        let is_loopback = self.peer.ip().to_canonical().is_loopback();
        if !is_loopback && self.server.insecure {
            return true;
        }
        *self.may_command.get_or_init(|| is_loopback && os::peer_may_command(self.peer, self.local))
    }
}

/// A header field that stands there once; more than one Host is nobody's.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// A header field, where one that cannot be read is still one that is there.
fn lossless<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// The answer to what was to be obeyed.
fn accepted(outcome: Result<Stamp, Refused>) -> Result<Response<Body>, Problem> {
    match outcome {
        Ok(applied) => json(StatusCode::ACCEPTED, &serde_json::json!({ "applied": applied })),
        Err(refused) => {
            let status = match refused.refusal {
                Refusal::Older { .. } | Refusal::Foreign { .. } => StatusCode::CONFLICT,
                Refusal::Lacks(_) | Refusal::NoSpec(_) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Err(Problem::new(status, refused.refusal.to_string()).with_held(refused.held))
        }
    }
}

fn busy(busy: Busy) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy.to_string())
}

fn no_replica(id: cluster::ReplicaId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no replica {id} on this node; ask the controller where it is"))
}

fn no_log(id: cluster::ReplicaId) -> Problem {
    let detail = format!("there is no replica {id} on this node, and no output of it: it wrote none, or it has been gone for too long");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

fn with_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(content_type: &'static str, text: impl Into<bytes::Bytes>) -> Response<Body> {
    with_type(content_type, Body::whole(text))
}

fn stream(content_type: &'static str, chunks: mpsc::Receiver<bytes::Bytes>) -> Response<Body> {
    with_type(content_type, Body::Chunks(chunks))
}

fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Result<Response<Body>, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let mut response = with_type("application/json", Body::whole(bytes));
    *response.status_mut() = status;
    Ok(response)
}
