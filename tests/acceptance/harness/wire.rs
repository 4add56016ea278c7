//! Reading HTTP/1.1 from a socket, with a deadline for the whole of it.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One answer's way from the socket.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
    /// Something has come since the deadline was set.
    has_begun: bool,
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    Close,
    Done,
}

/// Status line and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How the body is framed that follows this head.
    pub fn framing(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::Done;
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length").and_then(|value| value.parse().ok()) {
            Some(0) => Framing::Done,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    }
}

impl Wire {
    pub fn new(stream: TcpStream, limit: Duration) -> Self {
        Wire { stream, buffer: Vec::new(), deadline: Instant::now() + limit, has_begun: false }
    }

    /// Everything from here on must come within `limit`.
    pub fn within(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
        self.has_begun = false;
    }

    /// Whether anything has come since [`Wire::within`].
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the other side has ended the connection, or said something that nobody asked for, without waiting.
    pub fn has_news(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let is_quiet = matches!(&peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        !self.buffer.is_empty() || !is_quiet || self.stream.set_nonblocking(false).is_err()
    }

    /// Waits for the end of the connection, before which nothing more may come.
    pub fn end(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() || self.fill()? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind the end of the answer"));
        }
        Ok(())
    }

    pub fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads more; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.has_begun = true;
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if !self.fill()? {
                return Err(cut("in the middle of a line"));
            }
        }
    }

    /// Reads the head of an answer; those before the last (1xx, but 101) are passed over.
    pub fn head(&mut self) -> io::Result<Head> {
        loop {
            let line = self.line()?;
            let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
            let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no status line: {line:?}")))?;
            let mut headers = Vec::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let (name, value) =
                    line.split_once(':').ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no field: {line:?}")))?;
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            if status == 101 || status >= 200 {
                return Ok(Head { status, headers });
            }
        }
    }

    /// The next piece of a body; `None` at its end.
    pub fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match *framing {
            Framing::Done => Ok(None),
            Framing::Length(left) => {
                if self.buffer.is_empty() && !self.fill()? {
                    return Err(cut("in the middle of a body"));
                }
                let count = left.min(self.buffer.len());
                *framing = if count == left { Framing::Done } else { Framing::Length(left - count) };
                Ok(Some(self.buffer.drain(..count).collect()))
            }
            Framing::Chunked => {
                let size = self.line()?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no size of a chunk: {size:?}")))?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    *framing = Framing::Done;
                    return Ok(None);
                }
                while self.buffer.len() < size + 2 {
                    if !self.fill()? {
                        return Err(cut("in the middle of a chunk"));
                    }
                }
                let piece = self.buffer.drain(..size).collect();
                self.buffer.drain(..2);
                Ok(Some(piece))
            }
            Framing::Close => {
                if self.buffer.is_empty() && !self.fill()? {
                    *framing = Framing::Done;
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.buffer)))
            }
        }
    }
}

fn cut(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection was closed {place}"))
}
