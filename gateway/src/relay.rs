//! An answer on its way to the client, with all that must be held until it is through.
//!
//! Bytes are read only when those before them are written: so a client that does not read holds the replica back.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::answer::AnswerHead;
use crate::body::{Body, Coding};
use crate::buffer::Input;
use crate::chunks;
use crate::downstream::Downstream;
use crate::link::Lease;
use crate::outbound::{Outbound, Sent};
use crate::replica::InFlight;

/// What is so small goes behind the head into one buffer: to copy it costs less than to write from two places.
const SMALL_BYTES_MAX: usize = 2 * 1024;

/// The answer broke off: what was passed on must not be ended as if it were whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the replica ended the connection within its answer")]
    Ended,
    #[error("the replica's answer broke off: {0}")]
    Replica(io::Error),
    #[error("the replica's answer is malformed: {0}")]
    Malformed(#[from] chunks::Malformed),
    #[error("the client took no more of its answer: {0}")]
    Client(io::Error),
    #[error("the body of the request broke off")]
    Request,
}

/// An answer whose head is in the client's output.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) head: AnswerHead,
    /// The connection and what was read from it; the connection goes as soon as the answer was read.
    pub(crate) lease: Option<Lease>,
    pub(crate) input: Input,
    /// `None` for the API.
    pub(crate) in_flight: Option<InFlight>,
    body: Body,
    /// So many bytes at the front of the input are to be written as they are.
    plain: usize,
    is_sending: bool,
}

impl Relay {
    pub(crate) fn new(head: AnswerHead, lease: Lease, input: Input, in_flight: Option<InFlight>) -> Self {
        Relay { head, lease: Some(lease), input, in_flight, body: Body::new(head.framing), plain: 0, is_sending: true }
    }

    /// Passes the answer on to its end, and the rest of the request meanwhile.
    pub(crate) async fn run(&mut self, down: &mut Downstream, outbound: &mut Outbound) -> Result<(), Cut> {
        // A client that was not asked for its body sends none.
        self.is_sending = !outbound.waits_to_be_asked();
        self.take(down, outbound)?;
        poll_fn(|cx| self.poll(down, outbound, cx)).await
    }

    fn poll(&mut self, down: &mut Downstream, outbound: &mut Outbound, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        if self.is_sending
            && let Some(lease) = &mut self.lease
        {
            match outbound.poll_send(down, lease, cx) {
                Poll::Ready(Sent::Whole | Sent::Refused) => self.is_sending = false,
                Poll::Ready(Sent::Broken) => return Poll::Ready(Err(Cut::Request)),
                Poll::Pending => {}
            }
        }
        loop {
            match self.poll_write(down, cx) {
                Poll::Ready(written) => written?,
                Poll::Pending => return self.watch(down, outbound, cx),
            }
            let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(())) };
            match lease.poll_read(&mut self.input, cx) {
                Poll::Ready(Ok(0)) if self.body.end() => {
                    if self.head.coding == Coding::Chunked {
                        chunks::write_end(down.output.bytes(), b"");
                    }
                    self.finish(outbound);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Cut::Ended)),
                Poll::Ready(Ok(_)) => {
                    down.client.got_answer();
                    self.take(down, outbound)?;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Cut::Replica(error))),
                Poll::Pending => return self.watch(down, outbound, cx),
            }
        }
    }

    /// Notices a client that goes away while nothing moves.
    fn watch(&self, down: &mut Downstream, outbound: &Outbound, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        match outbound.is_read() {
            true => down.poll_watch(cx).map_or_else(|error| Poll::Ready(Err(Cut::Client(error))), |()| Poll::Pending),
            false => Poll::Pending,
        }
    }

    /// Takes what is there of the answer.
    fn take(&mut self, down: &mut Downstream, outbound: &Outbound) -> Result<(), Cut> {
        if self.head.coding == Coding::Plain && !matches!(self.body, Body::Chunked(_)) {
            let plain = self.body.take_plain(&self.input);
            if plain <= SMALL_BYTES_MAX {
                down.output.bytes().extend_from_slice(&self.input.filled()[..plain]);
                self.input.consume(plain);
            } else {
                self.plain = plain;
            }
        } else {
            self.body.transfer(&mut self.input, self.head.coding, down.output.bytes())?;
        }
        if self.body.has_ended() {
            self.finish(outbound);
        }
        Ok(())
    }

    /// The answer was read: its connection is free for the next request, and the replica has one less in flight.
    fn finish(&mut self, outbound: &Outbound) {
        let lease = self.lease.take();
        // What came behind the answer belongs to nobody (CVE-2025-4366).
        let is_clean = self.input.filled().len() == self.plain;
        if let Some(in_flight) = self.in_flight.take()
            && let Some(lease) = lease
            && self.head.keeps_replica
            && is_clean
            && outbound.is_sent()
        {
            in_flight.replica().give_back(lease, outbound.head.is_idempotent);
        }
    }

    /// Writes all that waits to be written.
    fn poll_write(&mut self, down: &mut Downstream, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        while self.plain > 0 {
            let plain = &self.input.filled()[..self.plain];
            let ours = down.output.pending().len();
            let count = ready!(down.poll_write_with(plain, cx)).map_err(Cut::Client)?;
            let of_plain = count.saturating_sub(ours);
            self.plain -= of_plain;
            self.input.consume(of_plain);
        }
        down.poll_flush(cx).map_err(Cut::Client)
    }
}
