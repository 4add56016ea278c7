//! A client of HTTP/2, by the h2 crate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::DEADLINE;

/// Runs a test that speaks HTTP/2; what takes too long is a failure.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async { timeout(DEADLINE, test).await.expect("the test took too long") });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Waits for a condition.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for: {what}");
        // Threads beside this one change it, and nobody tells.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub struct Http2 {
    pub requests: SendRequest<Bytes>,
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Whole {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request to a path.
pub fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap()
}

/// Reads an answer to its end.
pub async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Whole { status: parts.status.as_u16(), headers: parts.headers, body: body.into(), trailers })
}

/// Sends all of `data` as the flow control lets it.
pub async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match stream.capacity() {
            0 => std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.ok_or(Reason::STREAM_CLOSED)??,
            room => room,
        };
        let part = data.split_to(room.min(data.len()));
        let ends = is_last && data.is_empty();
        stream.send_data(part, ends)?;
        if ends {
            return Ok(());
        }
    }
    if is_last { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

impl Http2 {
    pub async fn connect(addr: SocketAddr) -> Self {
        // What it may open before it knows the gateway's limit.
        Self::with(addr, Builder::new().initial_max_send_streams(100)).await
    }

    pub async fn with(addr: SocketAddr, builder: &Builder) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (requests, connection) = builder.handshake(tcp).await.unwrap();
        Http2 { requests, connection: tokio::spawn(connection) }
    }

    /// Begins a request.
    pub async fn begin(&self, request: Request<()>, is_all: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = self.requests.clone().ready().await.unwrap();
        requests.send_request(request, is_all).unwrap()
    }

    /// A request without a body.
    pub async fn ask(&self, request: Request<()>) -> Result<Whole, h2::Error> {
        let (response, _) = self.begin(request, true).await;
        whole(response.await?).await
    }

    pub async fn get(&self, path: &str) -> Whole {
        self.ask(request("GET", path)).await.unwrap()
    }

    /// A request with a body.
    pub async fn tell(&self, request: Request<()>, body: &[u8]) -> Result<Whole, h2::Error> {
        let (response, mut stream) = self.begin(request, false).await;
        // RFC 9113 section 8.1: an answer may come before all of the request was sent, and ends it.
        let _ = send(&mut stream, Bytes::copy_from_slice(body), true).await;
        whole(response.await?).await
    }

    /// Waits until the peer has ended the connection, and says why.
    pub async fn sent_away(&mut self) -> Option<Reason> {
        (&mut self.connection).await.unwrap().err().and_then(|error| error.reason())
    }
}
