//! One upstream connection, and what must be known about it to replay safely: whether a byte of the current request was written,
//! whether a byte came back.
//!
//! It has no task of its own: whoever holds the [`Lease`] reads and writes, and nobody does while it is idle.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use cluster::route::{RouteKey, Target};
use tokio::sync::oneshot;

use crate::answer::BadAnswer;
use crate::buffer::Input;
use crate::clock::{Clock, NEVER};
use crate::core::Core;
use crate::registry::Entry;
use crate::replica::Replica;
use crate::stream::Stream;

/// Why a request got no answer on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No byte of it was written.
    Unsent,
    /// It was written, wholly or in part, and no byte came back.
    Unanswered,
    /// What came back broke off within the head of an answer.
    Broken,
    /// What came back was no answer.
    Malformed(BadAnswer),
    /// It changed to another protocol without being asked, or before it had all of the request.
    Unasked,
    /// No answer came in time.
    Late,
    /// The host of the replica was lost before its answer came.
    Lost,
    /// The client broke its request off, or is gone.
    Client,
}

impl Failure {
    /// A replica that works does not do this.
    pub(crate) fn is_replicas_fault(&self) -> bool {
        matches!(self, Failure::Unanswered | Failure::Broken | Failure::Malformed(_) | Failure::Late)
    }
}

/// The state of a connection, shared by its user and the sweep.
#[derive(Debug)]
pub(crate) struct Link {
    replica: Option<RouteKey>,
    clock: Rc<Clock>,
    /// How long its user waits for the first byte of an answer.
    first_byte_ms: Cell<u64>,
    written: Cell<u64>,
    read: Cell<u64>,
    /// A request was begun here, and has no answer yet.
    waits: Cell<bool>,
    /// When the wait for an answer ends; renewed by every byte of the request that goes out.
    deadline: Cell<u64>,
    is_late: Cell<bool>,
    /// Its replica was lost while a request waited here.
    is_lost: Cell<bool>,
    /// It leads through the agent of another host: if that is lost, so is what waits here.
    is_far: bool,
    /// The request that waits here may be sent again elsewhere.
    is_movable: Cell<bool>,
    /// It is given up, whatever it still carries.
    is_cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Whatever was written, the replica has not taken the request.
    is_unprocessed: Cell<bool>,
    is_outlived: Cell<bool>,
}

impl Link {
    /// A connection to `replica`; the sweep knows it until the entry is dropped.
    pub(crate) fn enter(core: &Core, replica: Option<&Replica>) -> (Rc<Link>, Entry<Link>) {
        let link = Rc::new(Link {
            replica: replica.map(|replica| replica.key),
            clock: Rc::clone(&core.clock),
            first_byte_ms: Cell::new(core.limits.first_byte_ms),
            written: Cell::new(0),
            read: Cell::new(0),
            waits: Cell::new(false),
            deadline: Cell::new(NEVER),
            is_late: Cell::new(false),
            is_lost: Cell::new(false),
            is_far: replica.is_some_and(|replica| matches!(replica.target, Target::Tunnel(_))),
            is_movable: Cell::new(false),
            is_cut: Cell::new(false),
            waker: RefCell::new(None),
            is_unprocessed: Cell::new(false),
            is_outlived: Cell::new(false),
        });
        let entry = core.links.enter(Rc::clone(&link));
        (link, entry)
    }

    /// A request begins, and waits for so long for its answer. `is_movable`: it may be sent again elsewhere if its replica is lost.
    pub(crate) fn begin(&self, is_movable: bool, first_byte_ms: u64) {
        self.first_byte_ms.set(first_byte_ms);
        self.written.set(0);
        self.read.set(0);
        self.is_movable.set(is_movable);
        self.waits.set(true);
        self.deadline.set(self.clock.after_ms(self.first_byte_ms.get()));
    }

    /// The wait for the answer is over.
    pub(crate) fn end_wait(&self) {
        self.waits.set(false);
        self.deadline.set(NEVER);
        self.is_movable.set(false);
    }

    /// Bytes of the request went out.
    pub(crate) fn did_write(&self, count: usize) {
        self.written.set(self.written.get() + count as u64);
        self.await_replica();
    }

    /// It is the client that is waited for, who has not sent all of the request: no fault of the replica's.
    pub(crate) fn await_client(&self) {
        self.deadline.set(NEVER);
    }

    /// It is the replica that is waited for: to take more of the request, or to answer it.
    pub(crate) fn await_replica(&self) {
        if self.waits.get() {
            self.deadline.set(self.clock.after_ms(self.first_byte_ms.get()));
        }
    }

    /// The request that waits here may from now on be sent again elsewhere.
    pub(crate) fn make_movable(&self) {
        self.is_movable.set(true);
    }

    /// Ends the wait for an answer whose deadline has come.
    pub(crate) fn sweep(&self) {
        if self.clock.has_come(self.deadline.get()) {
            self.is_late.set(true);
            self.cut();
        }
    }

    /// The replica that a request waits for here; `None`: none does, or it is the client that is waited for.
    pub(crate) fn awaited(&self) -> Option<RouteKey> {
        self.replica.filter(|_| self.waits.get() && self.deadline.get() != NEVER && !self.is_cut.get())
    }

    /// Its node was lost: a request that waits for its answer is let go if it may be sent again elsewhere, or if nobody is left to answer
    /// it. A replica of this host that lost no more than its agent answers all the same.
    pub(crate) fn abandon(&self) {
        if self.is_movable.get() || (self.waits.get() && self.is_far) {
            self.is_lost.set(true);
            self.cut();
        }
    }

    /// The replica at the other end; `None` for the API server of this process.
    pub(crate) fn replica(&self) -> Option<RouteKey> {
        self.replica
    }

    /// The replica has not taken the request, and will not (RFC 9113 section 8.7).
    pub(crate) fn was_unprocessed(&self) {
        self.is_unprocessed.set(true);
    }

    /// It was the connection that came to its end, and not the replica.
    pub(crate) fn was_outlived(&self) {
        self.is_outlived.set(true);
    }

    /// Another connection to the same replica may take the request.
    pub(crate) fn is_outlived(&self) -> bool {
        self.is_outlived.get()
    }

    /// Whether it was given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_cut.get()
    }

    /// Gives it up in so many milliseconds.
    pub(crate) fn cut_after_ms(&self, ms: u64) {
        self.deadline.set(self.clock.after_ms(ms));
    }

    /// Gives it up, and wakes its user.
    pub(crate) fn cut(&self) {
        self.is_cut.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether it was given up. Its user is woken when that changes.
    pub(crate) fn is_cut(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.is_cut.get()
    }

    /// Why there is no answer, now that there will be none.
    pub(crate) fn failure(&self) -> Failure {
        if self.written.get() == 0 || self.is_unprocessed.get() {
            Failure::Unsent
        } else if self.is_late.get() {
            Failure::Late
        } else if self.is_lost.get() {
            Failure::Lost
        } else if self.read.get() == 0 {
            Failure::Unanswered
        } else {
            Failure::Broken
        }
    }
}

/// The right to use a connection. Dropped, it closes the connection: an answer may be half read.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) stream: Stream,
    link: Rc<Link>,
    _entry: Entry<Link>,
    /// It carried a request before: its peer may have ended it just now.
    pub(crate) is_reused: bool,
    /// Dropped with it: so ends the request on a connection of HTTP/2.
    pub(crate) call: Option<oneshot::Sender<()>>,
}

impl Lease {
    /// Speaks HTTP/1.1 over `stream`.
    pub(crate) fn open(core: &Core, stream: Stream, replica: Option<&Replica>) -> Lease {
        let (link, entry) = Link::enter(core, replica);
        Lease { stream, link, _entry: entry, is_reused: false, call: None }
    }

    /// The connection's state.
    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// It is over, or its peer has said something that nobody asked for. The kernel is asked too: that may have come and the runtime
    /// not heard of it.
    pub(crate) fn is_dead(&self) -> bool {
        self.link.is_cut.get() || self.stream.is_dead()
    }

    /// It is over, as far as the runtime has heard.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.is_cut.get() || (self.stream.has_news() && self.stream.is_dead())
    }

    /// Reads what there is of an answer. `Ok(0)`: the end.
    pub(crate) fn poll_read(&mut self, input: &mut Input, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match ready!(input.poll_fill(&mut self.stream, cx)) {
                Ok(count) => {
                    self.link.read.set(self.link.read.get() + count as u64);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
