//! The link over HTTP/1.1 in the clear.
//!
//! A name may have several addresses, and different programs may listen at them: the one where an agent answered is
//! remembered, and the other calls go there. The Host field names the address that was dialled, never the name, because an agent
//! lets in by address without being configured.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cluster::endpoints::Endpoints;
use cluster::fence::Held;
use cluster::wire::{AGENT_SERVICE, Assignment, NodeFacts};
use cluster::{NodeUrl, ReplicaId};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ndjson::NdJson;
use super::{Answer, Dialer, Error, Lines, Link, Passed, Put};

/// How long one connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the answer to one call, or the head of a streamed one, may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How much of an answer that is not a stream is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Makes links over HTTP/1.1.
pub struct Http1Dialer {
    silence: Duration,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Http1Dialer {
    /// `silence`: a stream on which nothing came for so long is cut. The tasks of all connections belong to `tasks` and end
    /// with `end`.
    #[must_use]
    pub fn new(silence: Duration, tasks: TaskTracker, end: CancellationToken) -> Self {
        Http1Dialer { silence, tasks, end }
    }
}

impl Dialer for Http1Dialer {
    fn link(&self, url: &NodeUrl) -> Arc<dyn Link> {
        Arc::new(Http1Link {
            url: url.clone(),
            silence: self.silence,
            tasks: self.tasks.clone(),
            end: self.end.clone(),
            answered_at: Mutex::new(None),
            for_puts: tokio::sync::Mutex::new(None),
        })
    }
}

type Sender = SendRequest<Full<Bytes>>;

struct Http1Link {
    url: NodeUrl,
    silence: Duration,
    tasks: TaskTracker,
    end: CancellationToken,
    /// Where an agent answered last.
    answered_at: Mutex<Option<SocketAddr>>,
    /// A connection that is kept for assignments and endpoints.
    for_puts: tokio::sync::Mutex<Option<(Sender, SocketAddr)>>,
}

/// What stands in a refusal of an agent.
#[derive(Debug, Default, serde::Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
    #[serde(default)]
    held: Held,
}

async fn within<T>(limit: Duration, at: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::TimedOut { at: at.to_owned(), within_ms: limit.as_millis() }),
    }
}

/// The address as a Host field holds it: without the zone that an IPv6 address may have.
fn host_field(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

impl Http1Link {
    /// The addresses of the node, the one that answered last first.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let (host, port) = (self.url.host(), self.url.port());
        let mut addresses: Vec<SocketAddr> = if host == "localhost" {
            // RFC 6761 section 6.3: always loopback, whatever a resolver says.
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        } else if let Ok(ip) = host.parse::<IpAddr>() {
            vec![(ip, port).into()]
        } else {
            let unresolved = |reason: String| Error::Unresolved { host: host.to_owned(), reason };
            match tokio::time::timeout(ANSWER, tokio::net::lookup_host((host, port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(error)) => return Err(unresolved(error.to_string())),
                Err(_) => return Err(unresolved(format!("no answer within {} ms", ANSWER.as_millis()))),
            }
        };
        if addresses.is_empty() {
            return Err(Error::Unresolved { host: host.to_owned(), reason: "it has no address".to_owned() });
        }
        let known = *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.sort_by_key(|address| Some(*address) != known);
        Ok(addresses)
    }

    async fn connect(&self, address: SocketAddr) -> Result<Sender, Error> {
        let at = address.to_string();
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Error::Refused(at.clone()),
            _ => Error::Connect { at: at.clone(), reason: error.to_string() },
        };
        let stream = within(CONNECT, &at, async { TcpStream::connect(address).await.map_err(failed) }).await?;
        stream.set_nodelay(true).map_err(|error| Error::Connect { at: at.clone(), reason: error.to_string() })?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Broken { at: at.clone(), reason: error.to_string() })?;
        let end = self.end.clone();
        // The connection's end, good or bad, reaches whoever waits for the answer.
        self.tasks.spawn(async move { end.run_until_cancelled(connection).await });
        Ok(sender)
    }

    /// Connects to the address where an agent answered last, else to the first that takes the connection.
    async fn connect_any(&self) -> Result<(Sender, SocketAddr), Error> {
        let mut worst = None;
        for address in self.addresses().await? {
            match self.connect(address).await {
                Ok(sender) => return Ok((sender, address)),
                Err(error) => worst = Some(worse(worst, error)),
            }
        }
        Err(self.all_failed(worst))
    }

    fn all_failed(&self, worst: Option<Error>) -> Error {
        match worst {
            Some(Error::Refused(_)) | None => Error::Refused(self.url.authority()),
            Some(error) => error,
        }
    }

    async fn facts_at(&self, address: SocketAddr) -> Result<NodeFacts, Error> {
        let at = address.to_string();
        let mut sender = self.connect(address).await?;
        within(ANSWER, &at, async {
            let response = send(&mut sender, address, Method::GET, "/v1/node", Bytes::new()).await?;
            let status = response.status();
            let body = whole(response, &at).await?;
            if !status.is_success() {
                let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
                return Err(match problem.detail.is_empty() {
                    true => Error::NoAgent { at: at.clone(), what: format!("HTTP {status}") },
                    false => Error::Answered { at: at.clone(), status, detail: problem.detail },
                });
            }
            let facts: NodeFacts = serde_json::from_slice(&body)
                .map_err(|_| Error::NoAgent { at: at.clone(), what: "its answer to GET /v1/node is something else".to_owned() })?;
            if facts.service != AGENT_SERVICE {
                return Err(Error::NoAgent { at: at.clone(), what: format!("it calls itself \"{}\"", short(&facts.service)) });
            }
            Ok(facts)
        })
        .await
    }

    async fn put_on(&self, sender: &mut Sender, address: SocketAddr, path: &str, json: &Bytes) -> Result<Put, Error> {
        let at = address.to_string();
        within(ANSWER, &at, async {
            let response = send(sender, address, Method::PUT, path, json.clone()).await?;
            let status = response.status();
            let body = whole(response, &at).await?;
            if status == StatusCode::ACCEPTED {
                return Ok(Put::Accepted);
            }
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
            if status == StatusCode::CONFLICT {
                return Ok(Put::Conflict { held: problem.held, detail: problem.detail });
            }
            Err(Error::Answered { at: at.clone(), status, detail: problem.detail })
        })
        .await
    }

    async fn put_somehow(&self, path: &str, body: &(impl serde::Serialize + Sync)) -> Result<Put, Error> {
        let json = Bytes::from(serde_json::to_vec(body).map_err(|error| Error::Garbled {
            at: self.url.authority(),
            reason: format!("the body of PUT {path} cannot be written as JSON: {error}"),
        })?);
        let mut kept = self.for_puts.lock().await;
        // Taken out: a call that is given up half-way must not leave its connection to the next.
        if let Some((mut sender, address)) = kept.take()
            && sender.ready().await.is_ok()
        {
            match self.put_on(&mut sender, address, path, &json).await {
                // The agent closed it in the meantime, and a PUT may be said twice.
                Err(Error::Broken { .. }) => {}
                outcome => {
                    if matches!(outcome, Ok(_) | Err(Error::Answered { .. })) {
                        *kept = Some((sender, address));
                    }
                    return outcome;
                }
            }
        }
        let (mut sender, address) = self.connect_any().await?;
        let outcome = self.put_on(&mut sender, address, path, &json).await;
        if matches!(outcome, Ok(_) | Err(Error::Answered { .. })) {
            *kept = Some((sender, address));
        }
        outcome
    }
}

/// Of two failures the one that says more: a refusal proves something only if it was the same everywhere.
fn worse(before: Option<Error>, error: Error) -> Error {
    match before {
        Some(before) if error.is_refused() => before,
        _ => error,
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

async fn send(sender: &mut Sender, address: SocketAddr, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
    let broken = |reason: String| Error::Broken { at: address.to_string(), reason };
    let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, host_field(address));
    if !body.is_empty() {
        request = request.header(http::header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(body)).map_err(|error| broken(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| broken(error.to_string()))
}

async fn whole(response: Response<Incoming>, at: &str) -> Result<Bytes, Error> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| Error::Broken { at: at.to_owned(), reason: error.to_string() })
}

impl Link for Http1Link {
    fn facts(&self) -> Answer<'_, NodeFacts> {
        Box::pin(async {
            let mut worst = None;
            for address in self.addresses().await? {
                match self.facts_at(address).await {
                    Ok(facts) => {
                        *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
                        return Ok(facts);
                    }
                    Err(error) => worst = Some(worse(worst, error)),
                }
            }
            Err(self.all_failed(worst))
        })
    }

    fn observe(&self) -> Answer<'_, Box<dyn Lines>> {
        Box::pin(async {
            let (mut sender, address) = self.connect_any().await?;
            let at = address.to_string();
            let response = within(ANSWER, &at, send(&mut sender, address, Method::GET, "/v1/observe", Bytes::new())).await?;
            if response.status() != StatusCode::OK {
                let status = response.status();
                let body = within(ANSWER, &at, whole(response, &at)).await?;
                let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
                return Err(Error::Answered { at, status, detail: problem.detail });
            }
            Ok(Box::new(NdJson::new(response.into_body(), at, self.silence)) as Box<dyn Lines>)
        })
    }

    fn put<'a>(&'a self, assignment: &'a Assignment) -> Answer<'a, Put> {
        Box::pin(async { within(ANSWER, &self.url.authority(), self.put_somehow("/v1/assignment", assignment)).await })
    }

    fn put_endpoints<'a>(&'a self, endpoints: &'a Endpoints) -> Answer<'a, Put> {
        Box::pin(async { within(ANSWER, &self.url.authority(), self.put_somehow("/v1/endpoints", endpoints)).await })
    }

    fn logs<'a>(&'a self, replica: ReplicaId, query: &'a str) -> Answer<'a, Response<Passed>> {
        Box::pin(async move {
            let (mut sender, address) = self.connect_any().await?;
            let at = address.to_string();
            let path = format!("/v1/replicas/{replica}/logs{}{query}", if query.is_empty() { "" } else { "?" });
            let response = within(ANSWER, &at, send(&mut sender, address, Method::GET, &path, Bytes::new())).await?;
            Ok(response.map(|body| body.map_err(move |error| Error::Broken { at: at.clone(), reason: error.to_string() }).boxed()))
        })
    }
}
