//! An answer that never ends: a line of JSON after the other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::http::Call;
use super::wire::{Framing, Wire};

/// Such a stream, opened.
#[derive(Debug)]
pub struct Lines {
    wire: Wire,
    framing: Framing,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens it; it must be a 200.
    #[track_caller]
    pub fn open(address: SocketAddr, call: &Call) -> Self {
        let (head, wire) = call.open(address).unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        let framing = head.framing("GET");
        Lines { wire, framing, buffer: Vec::new() }
    }

    /// The next line, which must come within `limit`; `None` at the end.
    pub fn next_text(&mut self, limit: Duration) -> io::Result<Option<String>> {
        self.wire.within(limit);
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            match self.wire.piece(&mut self.framing)? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    /// The next line, as JSON.
    #[track_caller]
    pub fn next(&mut self, limit: Duration) -> Value {
        let line = self.next_text(limit).unwrap().expect("the stream ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
    }

    /// Reads on until a line fits, for at most `limit` each.
    #[track_caller]
    pub fn find(&mut self, limit: Duration, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut others = Vec::new();
        for _ in 0..500 {
            let line = self.next(limit);
            if fits(&line) {
                return line;
            }
            others.push(line.to_string());
        }
        panic!("no {what} among {others:#?}");
    }
}
