//! One request on one connection, until the head of its answer has come.
//!
//! Sending and waiting go on side by side: a replica may answer before it has read everything. Interim answers (1xx) go on to the client
//! as they come (RFC 9110 section 15.2).

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::answer::{self, AnswerHead, BadAnswer};
use crate::buffer::Input;
use crate::config::Limits;
use crate::downstream::Downstream;
use crate::fields;
use crate::head::{self, Found};
use crate::link::{Failure, Lease};
use crate::outbound::{Outbound, Sent};

/// Sends `outbound`, and waits for so long for the final answer, whose head is then in the client's output. What was read behind it is in `input`.
pub(crate) async fn run(
    limits: &Limits,
    first_byte_ms: u64,
    down: &mut Downstream,
    outbound: &mut Outbound,
    lease: &mut Lease,
    input: &mut Input,
) -> Result<AnswerHead, Failure> {
    outbound.begin();
    lease.link().begin(outbound.is_movable(), first_byte_ms);
    let mut exchange = Exchange { limits, down, outbound, lease, input, is_sending: true, scanned: 0 };
    let outcome = poll_fn(|cx| exchange.poll(cx)).await;
    lease.link().end_wait();
    if let Err(failure) = &outcome {
        tracing::debug!(replica = ?lease.link().replica(), ?failure, "no answer");
    }
    outcome
}

fn malformed(detail: &str) -> Failure {
    Failure::Malformed(BadAnswer(detail.to_owned()))
}

/// Whether an answer may have broken off behind these bytes.
fn begins_an_answer(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

struct Exchange<'a> {
    limits: &'a Limits,
    down: &'a mut Downstream,
    outbound: &'a mut Outbound,
    lease: &'a mut Lease,
    input: &'a mut Input,
    is_sending: bool,
    /// How much of the head that is coming was looked at.
    scanned: usize,
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Failure>> {
        if self.is_sending {
            match self.outbound.poll_send(self.down, self.lease, cx) {
                Poll::Ready(Sent::Broken) => return Poll::Ready(Err(Failure::Client)),
                Poll::Ready(Sent::Whole | Sent::Refused) => self.is_sending = false,
                Poll::Pending => {}
            }
        }
        if self.lease.link().is_cut(cx) {
            return Poll::Ready(Err(self.lease.link().failure()));
        }
        loop {
            // What is in the client's output now are interim answers: no more of them are read than the client takes.
            match self.down.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Client)),
                Poll::Pending => break,
            }
            match self.read_head() {
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Ok(None) if !self.down.output.pending().is_empty() => continue,
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
            match self.lease.poll_read(self.input, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) if !begins_an_answer(self.input.filled()) => return Poll::Ready(Err(malformed("it does not begin as one"))),
                Poll::Ready(_) => return Poll::Ready(Err(self.lease.link().failure())),
                Poll::Pending => break,
            }
        }
        if !self.is_sending && self.down.poll_watch(cx).is_err() {
            return Poll::Ready(Err(Failure::Client));
        }
        Poll::Pending
    }

    /// Whether the 101 that was written behind `before` changes to a protocol that the client named (RFC 9110 section 7.8).
    fn is_of_those_asked(&self, before: usize) -> bool {
        let answer = self.down.output.as_slice().get(before..).unwrap_or_default();
        let (Some(taken), Some(asked)) = (fields::find(answer, b"upgrade"), fields::find(self.outbound.written(), b"upgrade")) else {
            return false;
        };
        fields::list(taken).all(|taken| fields::list(asked).any(|asked| taken.eq_ignore_ascii_case(asked)))
    }

    /// Reads the head that is at the front of the input, if it is whole. An interim one goes on, or is dropped, and the next is looked for.
    fn read_head(&mut self) -> Result<Option<AnswerHead>, Failure> {
        while !self.input.is_empty() {
            let bytes = self.input.filled();
            let length = match head::find_end(bytes, &mut self.scanned) {
                Found::End(length) if length <= self.limits.head_bytes_max => length,
                Found::Partial if bytes.len() < self.limits.head_bytes_max => {
                    if self.input.is_full() {
                        self.input.grow(self.limits.head_bytes_max);
                    }
                    return Ok(None);
                }
                Found::End(_) | Found::Partial => return Err(malformed("its head is too long")),
                Found::BareLf => return Err(malformed("a line of its head ends with LF alone")),
            };
            let keeps_client = self.outbound.head.keeps_alive && self.outbound.is_read() && !self.down.is_finishing();
            let (before, date) = (self.down.output.as_slice().len(), self.down.client.date());
            let out = self.down.output.bytes();
            let answer = answer::rewrite(&bytes[..length], &self.outbound.head, keeps_client, self.limits.head_fields_max, &date, out)
                .map_err(|error| {
                    tracing::debug!(replica = ?self.lease.link().replica(), %error, "a bad answer");
                    out.truncate(before);
                    Failure::Malformed(error)
                })?;
            self.input.consume(length);
            self.scanned = 0;
            let is_asked = self.outbound.head.asks_upgrade && self.outbound.is_sent();
            if answer.status == 101 && !(is_asked && self.is_of_those_asked(before)) {
                self.down.output.bytes().truncate(before);
                return Err(Failure::Unasked);
            }
            if !answer.is_interim() {
                return Ok(Some(answer));
            }
            // A client that did not wait to be asked, or was asked by us, needs no 100; HTTP/1.0 knows no interim answers.
            let goes_on = !self.outbound.head.is_http10 && (answer.status != 100 || self.outbound.was_asked());
            if !goes_on {
                self.down.output.bytes().truncate(before);
            }
        }
        Ok(None)
    }
}
