//! HTTP/1.1 to a port of this host, with a deadline for connecting; the caller has one for the rest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const CALL_MAX: Duration = Duration::from_secs(5);

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that is kept between requests.
pub struct Connection {
    port: u16,
    sender: SendRequest<Full<Bytes>>,
    // What moves the bytes; it ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects.
    pub async fn open(port: u16) -> Result<Connection> {
        let connect = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = handshake(TokioIo::new(stream)).await?;
            let mut driving = JoinSet::new();
            driving.spawn(async {
                // Its error is the error of the request that is under way.
                let _ = driver.await;
            });
            Ok::<_, anyhow::Error>(Connection { port, sender, _driver: driving })
        };
        let what = || format!("cannot connect to port {port}");
        timeout(CONNECT_MAX, connect).await.with_context(what)?.with_context(what)
    }

    /// Sends a request and waits for the whole answer, whatever its status.
    pub async fn call(&mut self, method: Method, path: &str, body: &str) -> Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("localhost:{}", self.port))
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        self.sender.ready().await.context("the connection was closed")?;
        let answer = self.sender.send_request(request).await.context("no answer came")?;
        let status = answer.status();
        let body = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Asks for what has no end: the body comes as it is sent.
    pub async fn stream(&mut self, path: &str) -> Result<Incoming> {
        let request = Request::get(path).header(HOST, format!("localhost:{}", self.port)).body(Full::default())?;
        self.sender.ready().await.context("the connection was closed")?;
        let answer = self.sender.send_request(request).await.context("no answer came")?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(answer.into_body())
    }

    /// Whether another request can be sent.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// One request on a connection of its own.
pub async fn call(port: u16, method: Method, path: &str, body: &str) -> Result<Answer> {
    let exchange = async { Connection::open(port).await?.call(method.clone(), path, body).await };
    let what = || format!("{method} {path} on port {port}");
    timeout(CALL_MAX, exchange).await.with_context(what)?.with_context(what)
}
