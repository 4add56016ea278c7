//! Lines of JSON out of the body of a response: bounded in length, and in how long they may stay away.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cluster::wire::{OBSERVE_LINE_BYTES_MAX, ObserveLine};
use http_body::Body;
use http_body_util::BodyExt;

use super::{Answer, Error, Lines};

/// A wait that took so much longer than it should have means that this program was asleep, and proves no silence.
const ASLEEP_MS: u64 = 500;

/// The lines of one body.
pub struct NdJson<B> {
    body: B,
    at: String,
    silence: Duration,
    buffer: BytesMut,
    /// So much of the buffer holds no end of a line.
    scanned: usize,
}

impl<B> NdJson<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin,
{
    /// Reads a body; `at` is for messages, and nothing may stay away for longer than `silence`.
    pub fn new(body: B, at: String, silence: Duration) -> Self {
        NdJson { body, at, silence, buffer: BytesMut::new(), scanned: 0 }
    }

    async fn read(&mut self) -> Result<(), Error> {
        loop {
            let began = Instant::now();
            let frame = match tokio::time::timeout(self.silence, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Error::Broken { at: self.at.clone(), reason: error.to_string() }),
                Ok(None) => return Err(Error::Broken { at: self.at.clone(), reason: "the agent ended its stream".to_owned() }),
                Err(_) if began.elapsed() > self.silence + Duration::from_millis(ASLEEP_MS) => continue,
                Err(_) => return Err(Error::TimedOut { at: self.at.clone(), within_ms: self.silence.as_millis() }),
            };
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<ObserveLine, Error> {
        loop {
            let end = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                self.scanned = self.buffer.len();
                if self.scanned > OBSERVE_LINE_BYTES_MAX {
                    let reason = format!("a line of more than {OBSERVE_LINE_BYTES_MAX} bytes");
                    return Err(Error::Garbled { at: self.at.clone(), reason });
                }
                self.read().await?;
                continue;
            };
            let line = self.buffer.split_to(self.scanned + end + 1);
            self.scanned = 0;
            if !line.trim_ascii().is_empty() {
                return serde_json::from_slice(&line).map_err(|error| Error::Garbled { at: self.at.clone(), reason: error.to_string() });
            }
        }
    }
}

impl<B> Lines for NdJson<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + Unpin,
{
    fn next(&mut self) -> Answer<'_, ObserveLine> {
        Box::pin(self.line())
    }
}
