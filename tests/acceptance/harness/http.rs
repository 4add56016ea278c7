//! A small blocking HTTP client: one call, one connection, one deadline.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wire::{Head, Wire};

/// A call to make.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    target: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    limit: Duration,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Call {
            method: method.to_owned(),
            target: target.to_owned(),
            host: None,
            headers: vec![],
            body: None,
            limit: Duration::from_secs(30),
        }
    }

    pub fn get(target: &str) -> Self {
        Call::new("GET", target)
    }

    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Call::new("POST", target).body(body)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Something other than `localhost` and the port.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// The whole answer must come within this.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn bytes(&self, port: u16, close: bool) -> Vec<u8> {
        let host = self.host.clone().unwrap_or_else(|| format!("localhost:{port}"));
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        if close {
            text.push_str("Connection: close\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends the call and leaves the body of the answer to the caller.
    pub fn open(&self, address: SocketAddr) -> io::Result<(Head, Wire)> {
        // `Connection: close` would end an upgrade before it began.
        let close = !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection"));
        let mut wire = raw(address, &self.bytes(address.port(), close), self.limit)?;
        let head = wire.head()?;
        Ok((head, wire))
    }

    /// Makes the call.
    pub fn try_send(&self, address: SocketAddr) -> io::Result<Answer> {
        let (head, mut wire) = self.open(address)?;
        read(&self.method, head, &mut wire)
    }

    /// Makes the call, which must be answered.
    #[track_caller]
    pub fn send(&self, address: SocketAddr) -> Answer {
        match self.try_send(address) {
            Ok(answer) => answer,
            Err(error) => panic!("{} {} at {address}: {error}", self.method, self.target),
        }
    }
}

/// Sends bytes as they are.
pub fn raw(address: SocketAddr, bytes: &[u8], limit: Duration) -> io::Result<Wire> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(limit))?;
    // Who refuses a long body need not read it; what he answered can be read all the same.
    let _ = stream.write_all(bytes);
    Ok(Wire::new(stream, limit))
}

fn read(method: &str, head: Head, wire: &mut Wire) -> io::Result<Answer> {
    let mut framing = head.framing(method);
    let mut body = Vec::new();
    while let Some(piece) = wire.piece(&mut framing)? {
        body.extend_from_slice(&piece);
    }
    Ok(Answer { head, body })
}

/// A connection that is kept for several calls.
#[derive(Debug)]
pub struct Kept {
    wire: Wire,
    port: u16,
}

impl Kept {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Kept { wire: raw(address, b"", Duration::from_secs(30))?, port: address.port() })
    }

    /// Whether the connection is over, or has something to say that nobody asked for.
    pub fn has_ended(&self) -> bool {
        self.wire.has_news()
    }

    /// Whether any byte of the answer to the last call has come.
    pub fn has_begun(&self) -> bool {
        self.wire.has_begun()
    }

    /// Waits for the end of the connection; nothing may come before it.
    pub fn wait_end(&mut self) -> io::Result<()> {
        self.wire.end()
    }

    pub fn send(&mut self, call: &Call) -> io::Result<Answer> {
        let Kept { wire, port } = self;
        wire.within(call.limit);
        wire.stream_mut().write_all(&call.bytes(*port, false))?;
        let head = wire.head()?;
        read(&call.method, head, wire)
    }
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// It must be 200.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status(), 200, "{}", self.text());
        self
    }

    /// It must be an error as RFC 9457 has it, with this status; gives its `detail`.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status(), status, "{}", self.text());
        self.any_problem()
    }

    /// It must be an error as RFC 9457 has it; gives its `detail`.
    #[track_caller]
    pub fn any_problem(&self) -> String {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "status {} as {kind:?}: {}", self.status(), self.text());
        let json = self.json();
        if let Some(status) = json.get("status") {
            assert_eq!(status.as_u64(), Some(u64::from(self.status())), "{json}");
        }
        let detail = json["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.len() > 10, "no detail that says what to do: {json}");
        detail
    }

    /// Which worker answered.
    #[track_caller]
    pub fn worker(&self) -> String {
        let text = self.text();
        let id = text.strip_prefix("Hello from Worker ID: ").and_then(|rest| rest.split_once(". Uptime: ")).map(|(id, _)| id.to_owned());
        id.unwrap_or_else(|| panic!("no worker's answer: status {}, {text:?}", self.status()))
    }
}
