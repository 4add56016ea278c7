//! A client on a raw socket, which reads answers strictly: what is cut short is an error.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anything in these tests may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Checks that this is a problem of RFC 9457, and returns its detail.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let date = self.field("date").unwrap_or_default();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "RFC 9110 section 6.6.1: {self:?}");
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], status);
        assert!(json["title"].is_string());
        json["detail"].as_str().unwrap().to_owned()
    }
}

pub struct Client {
    pub tcp: TcpStream,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { tcp }
    }

    /// A client whose kernel holds little of what it has not read.
    pub fn narrow(addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.connect(&addr.into()).unwrap();
        let tcp: TcpStream = socket.into();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { tcp }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.tcp.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Whether the first byte of an answer comes in this time.
    pub fn hears_within(&self, time: Duration) -> bool {
        self.tcp.set_read_timeout(Some(time)).unwrap();
        let heard = self.tcp.peek(&mut [0]).is_ok();
        self.tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        heard
    }

    /// Sends, and reads an answer.
    pub fn tap(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).answer(false).unwrap()
    }

    pub fn request(&mut self, line: &str, fields: &str, body: &str) -> Answer {
        self.send(format!("{line} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}"));
        self.answer(line.starts_with("HEAD ")).unwrap()
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), "", "")
    }

    /// A request that may fail.
    pub fn try_get(&mut self, path: &str) -> Option<Answer> {
        self.tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes()).ok()?;
        self.answer(false).ok()
    }

    pub fn post(&mut self, path: &str, body: &str) -> Answer {
        self.request(&format!("POST {path}"), &format!("Content-Length: {}\r\n", body.len()), body)
    }

    pub fn line_end(&mut self) -> io::Result<Vec<u8>> {
        self.until(b"\r\n")
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end) {
            self.tcp.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }

    pub fn head(&mut self) -> io::Result<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n")?).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Answer { status, head, body: String::new() })
    }

    /// Reads a chunk of a chunked body; an empty one is the last. Behind that the trailers are left to read.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = String::from_utf8(self.line_end()?).unwrap();
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap()];
        self.tcp.read_exact(&mut chunk)?;
        if !chunk.is_empty() {
            self.line_end()?;
        }
        Ok(chunk)
    }

    /// Reads a whole answer, or the error that cut it short.
    pub fn answer(&mut self, is_to_head: bool) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let mut body = Vec::new();
        if is_to_head || matches!(answer.status, 101 | 204 | 304) {
        } else if let Some(length) = answer.field("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.tcp.read_exact(&mut body)?;
        } else if answer.field("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    let mut trailers = String::new();
                    loop {
                        let line = String::from_utf8(self.line_end()?).unwrap();
                        if line == "\r\n" {
                            break;
                        }
                        trailers.push_str(&line);
                    }
                    answer.head.push_str(&trailers);
                    break;
                }
                body.extend(chunk);
            }
        } else {
            self.tcp.read_to_end(&mut body)?;
        }
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Whether the connection has ended (FIN or RST), waiting for it.
    pub fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.tcp.read(&mut byte), Ok(1))
    }
}
