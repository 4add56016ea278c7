//! One upstream connection: hyper's HTTP/1 client over a [`Stream`], and what must be known about it to replay safely: whether a
//! byte of the current request was written, whether a byte came back.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cluster::route::RouteKey;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::clock::{Clock, NEVER};
use crate::core::Core;
use crate::kept::RequestBody;
use crate::registry::Entry;
use crate::stream::Stream;

/// Why a request got no answer on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No byte of it was written.
    Unsent,
    /// It was written, wholly or in part, and no byte came back.
    Unanswered,
    /// What came back was no answer, or broke off within its head.
    Broken,
    /// No answer came in time.
    Late,
}

/// The state of a connection, shared by its task, its user and the sweep.
#[derive(Debug)]
pub(crate) struct Link {
    stream: RefCell<Stream>,
    replica: Option<RouteKey>,
    clock: Rc<Clock>,
    first_byte_ms: u64,
    written: Cell<u64>,
    read: Cell<u64>,
    /// When the wait for an answer ends; renewed by every byte of the request that goes out.
    deadline: Cell<u64>,
    is_late: Cell<bool>,
    /// The request that waits here may be sent again elsewhere.
    is_movable: Cell<bool>,
    task: RefCell<Option<AbortHandle>>,
    upgraded: RefCell<Option<oneshot::Sender<Upgraded>>>,
}

/// The bytes of a connection that became a tunnel, and those that were read too far.
pub(crate) type Upgraded = (LinkIo, Bytes);

impl Link {
    /// Whether any byte of the current request was written.
    pub(crate) fn has_written(&self) -> bool {
        self.written.get() > 0
    }

    /// The request that waits here may from now on be sent again elsewhere.
    pub(crate) fn make_movable(&self) {
        self.is_movable.set(true);
    }

    /// Ends the wait for an answer whose deadline has come.
    pub(crate) fn sweep(&self) {
        if self.clock.has_come(self.deadline.get()) {
            self.is_late.set(true);
            self.abort();
        }
    }

    /// Its replica was lost: a request that waits for its first byte and may be sent again is let go.
    pub(crate) fn abandon(&self) {
        if self.is_movable.get() && self.read.get() == 0 {
            self.abort();
        }
    }

    /// The replica at the other end; `None` for the API server of this process.
    pub(crate) fn replica(&self) -> Option<RouteKey> {
        self.replica
    }

    pub(crate) fn abort(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.abort();
        }
    }

    fn failure(&self) -> Failure {
        if self.written.get() == 0 {
            Failure::Unsent
        } else if self.is_late.get() {
            Failure::Late
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
    sender: SendRequest<RequestBody>,
    link: Rc<Link>,
    /// It carried a request before: its peer may have ended it just now.
    pub(crate) is_reused: bool,
}

impl Lease {
    /// Speaks HTTP/1.1 over `stream`.
    pub(crate) async fn open(core: &Rc<Core>, stream: Stream, replica: Option<RouteKey>) -> Result<Lease, hyper::Error> {
        let link = Rc::new(Link {
            stream: RefCell::new(stream),
            replica,
            clock: Rc::clone(&core.clock),
            first_byte_ms: core.limits.first_byte_ms,
            written: Cell::new(0),
            read: Cell::new(0),
            deadline: Cell::new(NEVER),
            is_late: Cell::new(false),
            is_movable: Cell::new(false),
            task: RefCell::new(None),
            upgraded: RefCell::new(None),
        });
        let (sender, connection) = core.http_client.handshake(TokioIo::new(LinkIo(Rc::clone(&link)))).await?;
        let entry = core.links.enter(Rc::clone(&link));
        let task = core.tasks.spawn_local(drive(connection, Rc::clone(&link), entry));
        link.task.replace(Some(task.abort_handle()));
        Ok(Lease { sender, link, is_reused: false })
    }

    /// The connection's state.
    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// It can take another request at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// It is over. The kernel is asked too: a FIN may have come that the runtime has not heard of.
    pub(crate) fn is_dead(&self) -> bool {
        self.sender.is_closed() || self.link.stream.borrow().is_dead()
    }

    /// It is over, as far as the runtime has heard.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request, and waits for the head of its answer. `is_movable`: it may be sent again elsewhere if its replica is lost.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<RequestBody>,
        is_movable: bool,
    ) -> Result<http::Response<Incoming>, Failure> {
        let link = &self.link;
        link.written.set(0);
        link.read.set(0);
        link.is_movable.set(is_movable);
        link.deadline.set(link.clock.after_ms(link.first_byte_ms));
        let answer = self.sender.try_send_request(request).await;
        link.deadline.set(NEVER);
        link.is_movable.set(false);
        answer.map_err(|error| {
            let failure = link.failure();
            tracing::debug!(replica = ?link.replica, ?failure, error = %error.error(), "no answer");
            failure
        })
    }

    /// Says that the next answer may be a 101; the receiver gets the bytes then.
    pub(crate) fn expect_upgrade(&self) -> oneshot::Receiver<Upgraded> {
        let (sender, receiver) = oneshot::channel();
        self.link.upgraded.replace(Some(sender));
        receiver
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.abort();
    }
}

/// The task of a connection.
async fn drive(mut connection: Connection<TokioIo<LinkIo>, RequestBody>, link: Rc<Link>, _entry: Entry<Link>) {
    if let Err(error) = poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await {
        tracing::debug!(replica = ?link.replica, %error, "an upstream connection failed");
        return;
    }
    // hyper ends well on a 101 too, and has not shut the stream down then.
    if let Some(receiver) = link.upgraded.take() {
        let parts = connection.into_parts();
        let _ = receiver.send((parts.io.into_inner(), parts.read_buf));
    }
}

/// The bytes of a connection, counted. Dropped, it closes them, whoever else still knows the [`Link`].
#[derive(Debug)]
pub(crate) struct LinkIo(Rc<Link>);

impl LinkIo {
    fn wrote(&self, count: usize) {
        let link = &self.0;
        link.written.set(link.written.get() + count as u64);
        if link.deadline.get() != NEVER {
            link.deadline.set(link.clock.after_ms(link.first_byte_ms));
        }
    }
}

impl Drop for LinkIo {
    fn drop(&mut self) {
        self.0.stream.replace(Stream::Closed);
    }
}

impl AsyncRead for LinkIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        self.0.read.set(self.0.read.get() + count as u64);
        polled
    }
}

impl AsyncWrite for LinkIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = polled {
            self.wrote(count);
        }
        polled
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(count)) = polled {
            self.wrote(count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}
