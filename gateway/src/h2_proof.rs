//! Proof that a worker has taken the head of a request in, by a PING behind it.
//!
//! A worker that ends its connections without announcing it says by a GOAWAY which requests it has left out (RFC 9113 section 6.8), and those
//! are sent elsewhere: as long as all of their bytes are kept. So no more of a body than is kept is sent before a PING that was written behind
//! the head has come back: a GOAWAY that leaves the request out would have come before it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use h2::{Ping, PingPong};

/// What is proven on one connection.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    pings: RefCell<Option<PingPong>>,
    /// How often all that waited to be written was written.
    turn: Cell<u64>,
    /// The turn at which the PING under way was asked for.
    asked: Cell<Option<u64>>,
    /// What was written up to this turn was taken in.
    proven: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Proof {
    pub(crate) fn new(pings: Option<PingPong>) -> Self {
        Proof { pings: RefCell::new(pings), ..Proof::default() }
    }

    /// What is sent now is written with a later turn than this.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// The connection has worked until there was nothing left to do. `is_written`: nor to write.
    pub(crate) fn end_turn(&self, is_written: bool, cx: &mut Context<'_>) {
        if is_written {
            self.turn.set(self.turn.get() + 1);
        }
        if let Some(pings) = &mut *self.pings.borrow_mut()
            && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
            && let Some(asked) = self.asked.take()
        {
            self.proven.set(asked);
        }
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready once what was sent at `turn` was taken in.
    pub(crate) fn poll(&self, turn: u64, cx: &Context<'_>) -> Poll<()> {
        if self.proven.get() > turn {
            return Poll::Ready(());
        }
        if self.asked.get().is_none()
            && self.turn.get() > turn
            && let Some(pings) = &mut *self.pings.borrow_mut()
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.asked.set(Some(self.turn.get()));
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}
