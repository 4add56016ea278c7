//! A client's request as it goes to a replica, as often as need be: its head, and its body while that is small enough to be kept.
//!
//! What is sent is written from the kept bytes, so sending again means beginning at the first of them. A body of more than
//! [`KEPT_BYTES_MAX`] passes through instead, and the request cannot be sent again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep};

use crate::answer;
use crate::body::{Body, Coding};
use crate::buffer::{Input, Output};
use crate::chunks::Malformed;
use crate::downstream::Downstream;
use crate::fields;
use crate::framing::Framing;
use crate::link::Lease;
use crate::prefix::Stripped;
use crate::problem::Problem;
use crate::record::Record;
use crate::request::RequestHead;

/// A replica that does not ask for the body within this time may be one that never does: then we do.
const ASK_AFTER: Duration = Duration::from_millis(300);
/// How much of a body is kept.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024;

/// How sending a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The replica has all of it.
    Whole,
    /// The replica takes no more; it may have answered before.
    Refused,
    /// The client broke its body off, or it is malformed ([`Outbound::fault`] says which).
    Broken,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) head: RequestHead,
    /// What becomes of it.
    pub(crate) record: Record,
    out: Output,
    head_bytes: usize,
    body: Body,
    coding: Coding,
    /// Everything is in `out`, from the first byte on.
    is_whole: bool,
    /// The client waits to be asked for the body, and was not.
    waits_to_be_asked: bool,
    /// When it is asked by us.
    ask_time: Option<Pin<Box<Sleep>>>,
    fault: Option<Fault>,
    /// What of its path is not for the replica.
    stripped: Option<Stripped>,
}

/// What was wrong with the client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body of the request broke off")]
    BrokenOff,
    #[error("the body of the request is malformed")]
    Malformed,
    #[error("the body of the request stood still for too long")]
    Late,
}

impl Fault {
    /// What is told of it.
    pub(crate) fn problem(self) -> Problem {
        let status = if self == Fault::Late { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST };
        Problem::new(status, self.to_string())
    }
}

impl Outbound {
    /// The request whose head was written to `out`.
    pub(crate) fn new(head: RequestHead, out: Output, record: Record) -> Self {
        Outbound {
            head_bytes: out.as_slice().len(),
            body: Body::new(head.framing),
            coding: if head.framing == Framing::Chunked { Coding::Chunked } else { Coding::Plain },
            is_whole: true,
            waits_to_be_asked: head.expects_continue,
            ask_time: None,
            fault: None,
            stripped: None,
            record,
            head,
            out,
        }
    }

    /// The path, while the request can be sent.
    pub(crate) fn path(&self) -> &str {
        self.head.path(self.written())
    }

    /// The host that it is for, while it can be sent.
    pub(crate) fn host(&self) -> &str {
        self.head.host(self.written())
    }

    /// Takes the first bytes of the path off: they are not for the replica.
    pub(crate) fn strip_path(&mut self, count: usize) {
        if count > 0 && self.is_whole {
            let before = self.out.as_slice().len();
            self.stripped = self.head.strip_path(count, self.head_bytes, self.out.bytes());
            self.head_bytes = self.head_bytes + self.out.as_slice().len() - before;
        }
    }

    /// Puts them back: the path is as the client sent it.
    pub(crate) fn restore_path(&mut self) {
        if let Some(stripped) = self.stripped.take_if(|_| self.is_whole) {
            let before = self.out.as_slice().len();
            self.head.restore_path(&stripped, self.out.bytes());
            self.head_bytes = self.head_bytes + self.out.as_slice().len() - before;
        }
    }

    /// What was asked for, for people: as far as it is still known.
    pub(crate) fn asked(&self) -> String {
        let written = self.written();
        let id = fields::find(written, b"x-request-id").map_or_else(String::new, |id| format!(" ({})", String::from_utf8_lossy(id)));
        format!("{} {}{id}", self.head.method, self.head.path(written))
    }

    /// What was written; the head is at its beginning while the request can be sent.
    pub(crate) fn written(&self) -> &[u8] {
        self.out.as_slice()
    }

    /// All of it can be sent again.
    pub(crate) fn can_replay(&self) -> bool {
        self.is_whole
    }

    /// All of it was read from the client.
    pub(crate) fn is_read(&self) -> bool {
        self.body.has_ended()
    }

    /// All of it was written to the replica.
    pub(crate) fn is_sent(&self) -> bool {
        self.is_read() && self.out.pending().is_empty()
    }

    /// It may be sent again elsewhere if its replica is lost.
    pub(crate) fn is_movable(&self) -> bool {
        self.head.is_idempotent && self.is_whole && self.is_read()
    }

    /// What was wrong with the client's body.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The client was asked for the body just now, by somebody else; `false`: it did not wait for that.
    pub(crate) fn was_asked(&mut self) -> bool {
        std::mem::replace(&mut self.waits_to_be_asked, false)
    }

    /// The client waits to be asked for the body: there is nothing to come.
    pub(crate) fn waits_to_be_asked(&self) -> bool {
        self.waits_to_be_asked
    }

    /// The replica has the head, and has had time to ask for the body itself (RFC 9110 section 10.1.1: it may never do so).
    fn is_time_to_ask(&mut self, cx: &mut Context<'_>) -> bool {
        self.ask_time.get_or_insert_with(|| Box::pin(sleep(ASK_AFTER))).as_mut().poll(cx).is_ready()
    }

    /// Begins at the first byte.
    pub(crate) fn begin(&mut self) {
        self.out.rewind();
    }

    /// Takes what is there of the body, so that it goes out with the head.
    pub(crate) fn take_what_is_there(&mut self, input: &mut Input) -> Result<(), Fault> {
        if !input.is_empty() && !self.is_read() && self.fits(input) {
            self.waits_to_be_asked = false;
            self.take(input).map_err(|_| Fault::Malformed)?;
        }
        Ok(())
    }

    fn fits(&self, input: &Input) -> bool {
        self.out.as_slice().len() - self.head_bytes + input.filled().len() <= KEPT_BYTES_MAX
    }

    fn take(&mut self, input: &mut Input) -> Result<(), Malformed> {
        self.body.transfer(input, self.coding, self.out.bytes())
    }

    /// Sends on, as far as the replica takes it and the client gives it.
    pub(crate) fn poll_send(&mut self, down: &mut Downstream, lease: &mut Lease, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            while !self.out.pending().is_empty() {
                match ready!(Pin::new(&mut lease.stream).poll_write(cx, self.out.pending())) {
                    Ok(count @ 1..) => {
                        self.out.did_send(count);
                        lease.link().did_write(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => return Poll::Ready(Sent::Refused),
                }
            }
            if self.is_read() {
                lease.link().await_replica();
                return Poll::Ready(Sent::Whole);
            }
            if !down.input.is_empty() {
                self.waits_to_be_asked = false;
                if !self.is_whole || !self.fits(&down.input) {
                    // What is in there was sent.
                    self.is_whole = false;
                    self.out.clear();
                }
                if self.take(&mut down.input).is_err() {
                    self.fault = Some(Fault::Malformed);
                    return Poll::Ready(Sent::Broken);
                }
                if !self.out.pending().is_empty() || self.is_read() {
                    // Only this is progress: extensions of chunks and trailers may come a byte at a time for ever.
                    down.client.got_body();
                    if self.is_movable() {
                        lease.link().make_movable();
                    }
                    continue;
                }
            }
            if self.waits_to_be_asked && self.is_time_to_ask(cx) {
                self.waits_to_be_asked = false;
                down.output.bytes().extend_from_slice(answer::CONTINUE);
            }
            lease.link().await_client();
            match down.poll_body(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    self.fault = Some(if down.client.is_late() { Fault::Late } else { Fault::BrokenOff });
                    return Poll::Ready(Sent::Broken);
                }
                Poll::Pending => {
                    // A client that waits to be asked must hear of it before it sends; whether it does is seen above.
                    let _ = down.poll_flush(cx);
                    return Poll::Pending;
                }
            }
        }
    }
}
