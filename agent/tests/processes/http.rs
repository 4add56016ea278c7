//! As much of an HTTP client as the tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// One call on a connection of its own. `headers` are whole lines.
pub fn call(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut stream = connect(port);
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        head.push_str(&format!("host: localhost:{port}\r\n"));
    }
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("content-length:")) && !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The other side may refuse before it has read all of it.
    let _ = stream.write_all(body);
    let mut reader = BufReader::new(stream);
    let (status, headers) = head_of(&mut reader);
    let mut body = Vec::new();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse::<u64>().unwrap());
    match length {
        Some(length) => {
            reader.by_ref().take(length).read_to_end(&mut body).unwrap();
        }
        None if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") => {
            while let Some(chunk) = chunk_of(&mut reader) {
                body.extend(chunk);
            }
        }
        None => {
            reader.read_to_end(&mut body).unwrap();
        }
    }
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

pub fn get(port: u16, path: &str) -> Answer {
    call(port, "GET", path, &[], b"")
}

pub fn head_of(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return (status, headers),
        }
    }
}

/// The next chunk of a chunked body; `None` at its end or when the connection ends.
pub fn chunk_of(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

/// A reader of `/v1/observe`.
pub struct Observer {
    reader: BufReader<TcpStream>,
    rest: Vec<u8>,
}

impl Observer {
    pub fn new(port: u16) -> Self {
        let mut stream = connect(port);
        write!(stream, "GET /v1/observe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let (status, _) = head_of(&mut reader);
        assert_eq!(status, 200);
        Observer { reader, rest: Vec::new() }
    }

    /// The next line; `None` when the stream has ended.
    pub fn next(&mut self) -> Option<serde_json::Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.rest.extend(chunk_of(&mut self.reader)?);
        }
    }
}
