//! One client connection as the sweep and a shutdown see it: what it waits for, until when, and what it is told to do.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::{Clock, Date, NEVER};
use crate::config::Limits;
use crate::core::Core;
use crate::origin::Origin;

/// When the gateway ends, a connection that was in use so recently is kept for one more request: it may be on its way already.
const LAST_REST_MS: u64 = 1_000;

/// What a client connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// The head of a request is coming.
    Head,
    /// A request is being served; nothing is waited for from the client.
    Busy,
    /// The body of a request is waited for.
    Body,
    /// An answer is going out.
    Answer,
    /// It carries bytes of another protocol.
    Tunnel,
    /// It speaks HTTP/2, and no stream is open.
    Quiet,
    /// We have ended it; what the client still says is read and dropped.
    Linger,
}

/// What a client connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// End after the request that is being served.
    Finish,
    /// End now.
    Cut,
}

/// The state of a client connection, shared by its task, its requests and the sweep.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The address that it came to.
    pub(crate) local_text: Rc<str>,
    /// What replicas are told of it.
    pub(crate) origin: Rc<Origin>,
    /// It is a stream of HTTP/2.
    is_stream: bool,
    phase: Cell<Phase>,
    deadline: Cell<u64>,
    /// The tick at which it was in use last.
    idle_since: Cell<u64>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    /// All bytes that went to it.
    written: Cell<u64>,
    /// The current request is of HTTP/1.0: its answer may end with the connection.
    is_http10: Cell<bool>,
    is_cut_short: Cell<bool>,
    /// The head or the body of a request did not come in time: to be told.
    is_late: Cell<bool>,
    /// The current answer comes from the API of this process: a followed log may be quiet for long.
    is_from_api: Cell<bool>,
    /// How long a body of the current request may stand still, in milliseconds: its app may say so.
    body_idle_ms: Cell<u64>,
    /// It has ended its side: it is there for its answer, or it is gone.
    is_half_closed: Cell<bool>,
    clock: Rc<Clock>,
    limits: Rc<Limits>,
}

impl Client {
    pub(crate) fn new(core: &Core, peer: SocketAddr, local_text: Rc<str>) -> Rc<Self> {
        let origin = Rc::new(Origin::new(peer.ip(), core.peers.is_trusted(peer.ip())));
        Rc::new(Self::begin(peer, local_text, origin, core.limits.client_idle_ms, &core.clock, &core.limits))
    }

    /// A stream of this connection, which is seen as a connection of its own: one that carries one request.
    pub(crate) fn stream(&self) -> Rc<Self> {
        let (local_text, origin) = (Rc::clone(&self.local_text), Rc::clone(&self.origin));
        let client = Self::begin(self.peer, local_text, origin, self.limits.head_ms, &self.clock, &self.limits);
        Rc::new(Client { is_stream: true, ..client })
    }

    fn begin(peer: SocketAddr, local_text: Rc<str>, origin: Rc<Origin>, within_ms: u64, clock: &Rc<Clock>, limits: &Rc<Limits>) -> Self {
        Client {
            peer,
            local_text,
            origin,
            is_stream: false,
            phase: Cell::new(Phase::Idle),
            deadline: Cell::new(clock.after_ms(within_ms)),
            idle_since: Cell::new(clock.tick()),
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
            written: Cell::new(0),
            is_http10: Cell::new(false),
            is_cut_short: Cell::new(false),
            is_late: Cell::new(false),
            is_from_api: Cell::new(false),
            body_idle_ms: Cell::new(limits.body_idle_ms),
            is_half_closed: Cell::new(false),
            clock: Rc::clone(clock),
            limits: Rc::clone(limits),
        }
    }

    fn enter(&self, phase: Phase) {
        let wait_ms = match phase {
            // Nobody can tell one who waits for an answer from one who left; the wait is long enough for the one and not for the other.
            Phase::Busy | Phase::Answer if self.is_half_closed.get() => Some(self.limits.half_closed_ms),
            Phase::Busy => None,
            Phase::Idle if self.order.get() != Order::Serve => Some(LAST_REST_MS),
            Phase::Idle | Phase::Quiet => Some(self.limits.client_idle_ms),
            Phase::Head => Some(self.limits.head_ms),
            Phase::Answer if self.is_from_api.get() => Some(self.limits.tunnel_idle_ms),
            Phase::Body | Phase::Answer => Some(self.body_idle_ms.get()),
            Phase::Tunnel => Some(self.limits.tunnel_idle_ms.max(self.body_idle_ms.get())),
            Phase::Linger => Some(1_000),
        };
        if phase == Phase::Idle {
            self.idle_since.set(self.clock.tick());
        }
        self.phase.set(phase);
        self.is_late.set(false);
        self.deadline.set(wait_ms.map_or(NEVER, |ms| self.clock.after_ms(ms)));
    }

    /// The version of HTTP in which it sent a request.
    pub(crate) fn version(&self, is_http10: bool) -> &'static str {
        match (self.is_stream, is_http10) {
            (true, _) => "2.0",
            (false, true) => "1.0",
            (false, false) => "1.1",
        }
    }

    /// How many bytes went to it.
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// A part of the next request's head is there already.
    pub(crate) fn begin_head(&self) {
        self.enter(Phase::Head);
    }

    /// A request has come.
    pub(crate) fn begin_request(&self, is_http10: bool) {
        self.is_http10.set(is_http10);
        self.is_from_api.set(false);
        self.body_idle_ms.set(self.limits.body_idle_ms);
        self.enter(Phase::Busy);
    }

    /// The bodies of the current request may stand still for so long.
    pub(crate) fn set_body_idle_ms(&self, ms: u64) {
        self.body_idle_ms.set(ms);
    }

    /// More of the request's body is waited for.
    pub(crate) fn await_body(&self) {
        if self.phase.get() == Phase::Busy {
            self.enter(Phase::Body);
        }
    }

    /// More of the request's body has come.
    pub(crate) fn got_body(&self) {
        match self.phase.get() {
            Phase::Body => self.enter(Phase::Busy),
            Phase::Answer => self.enter(Phase::Answer),
            _ => {}
        }
    }

    /// The answer that is about to begin comes from the API of this process.
    pub(crate) fn answer_is_from_api(&self) {
        self.is_from_api.set(true);
    }

    /// The answer begins.
    pub(crate) fn begin_answer(&self) {
        self.enter(Phase::Answer);
    }

    /// The answer moves on.
    pub(crate) fn got_answer(&self) {
        if self.phase.get() == Phase::Answer {
            self.enter(Phase::Answer);
        }
    }

    /// The answer is given entirely.
    pub(crate) fn end_answer(&self) {
        if self.phase.get() == Phase::Answer {
            self.enter(Phase::Idle);
        }
    }

    /// The answer broke off.
    pub(crate) fn cut_answer(&self) {
        self.is_cut_short.set(true);
    }

    /// The connection speaks HTTP/2, and no stream is open.
    pub(crate) fn await_streams(&self) {
        self.enter(Phase::Quiet);
    }

    /// Streams are open; each has deadlines of its own.
    pub(crate) fn carry_streams(&self) {
        self.enter(Phase::Busy);
    }

    /// What is left to do is to hear the client out.
    pub(crate) fn begin_linger(&self) {
        self.enter(Phase::Linger);
    }

    /// The connection carries another protocol from now on.
    pub(crate) fn begin_tunnel(&self) {
        self.enter(Phase::Tunnel);
    }

    /// The client has ended its side while its request is served.
    pub(crate) fn half_close(&self) {
        self.is_half_closed.set(true);
        if matches!(self.phase.get(), Phase::Busy | Phase::Answer) {
            self.enter(self.phase.get());
        }
    }

    /// What the connection is told.
    pub(crate) fn is_told(&self) -> Order {
        self.order.get()
    }

    /// What the connection is to do. Its task is woken when that changes.
    pub(crate) fn order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.get()
    }

    /// Tells the connection what to do.
    pub(crate) fn tell(&self, order: Order) {
        self.order.set(order);
        if order == Order::Finish && self.phase.get() == Phase::Idle {
            self.deadline.set(self.deadline.get().min(self.clock.behind(self.idle_since.get(), LAST_REST_MS)));
        }
        self.wake();
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// It was told to finish, and no request is to be waited for.
    pub(crate) fn may_leave(&self) -> bool {
        self.order.get() != Order::Serve && (self.phase.get() != Phase::Idle || self.clock.has_come(self.deadline.get()))
    }

    /// A request was begun and did not come in time (RFC 9110 section 15.5.9).
    pub(crate) fn is_late(&self) -> bool {
        self.is_late.get()
    }

    /// The date, for answers of our own.
    pub(crate) fn date(&self) -> Date {
        self.clock.date()
    }

    /// Ends a connection whose deadline has come.
    pub(crate) fn sweep(&self) {
        if !self.clock.has_come(self.deadline.get()) || self.order.get() == Order::Cut {
            return;
        }
        tracing::debug!(peer = %self.peer, phase = ?self.phase.get(), "a client connection stood still for too long");
        if matches!(self.phase.get(), Phase::Head | Phase::Body) && !self.is_late.get() {
            // Its task tells it, and that has a deadline of its own. Should it not come to that, the next look here ends it.
            self.is_late.set(true);
            self.deadline.set(self.clock.after_ms(1_000));
            self.wake();
        } else {
            self.tell(Order::Cut);
        }
    }

    fn did_read(&self, count: usize) {
        if count > 0 {
            match self.phase.get() {
                Phase::Idle => self.enter(Phase::Head),
                Phase::Tunnel => self.enter(Phase::Tunnel),
                _ => {}
            }
        }
    }

    fn did_write(&self, count: usize) {
        self.written.set(self.written.get() + count as u64);
        let phase = self.phase.get();
        if count > 0 && matches!(phase, Phase::Idle | Phase::Answer | Phase::Tunnel) {
            self.enter(phase);
        }
    }
}

/// What carries the bytes of a client.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A connection of its own.
    Tcp(TcpStream),
    /// A stream of an HTTP/2 connection, made one of HTTP/1.1.
    Stream(DuplexStream),
}

impl From<TcpStream> for Carrier {
    fn from(tcp: TcpStream) -> Self {
        Carrier::Tcp(tcp)
    }
}

impl From<DuplexStream> for Carrier {
    fn from(stream: DuplexStream) -> Self {
        Carrier::Stream(stream)
    }
}

/// The bytes of a client connection, observed.
#[derive(Debug)]
pub(crate) struct ClientIo {
    carrier: Carrier,
    client: Rc<Client>,
}

impl ClientIo {
    pub(crate) fn new(carrier: Carrier, client: Rc<Client>) -> Self {
        ClientIo { carrier, client }
    }

    /// It may speak HTTP/2.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.carrier, Carrier::Tcp(_))
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        let is_unfinished = self.client.is_cut_short.get() || self.client.phase.get() == Phase::Answer;
        if is_unfinished
            && self.client.is_http10.get()
            && let Carrier::Tcp(tcp) = &self.carrier
            // Where the end of the connection is the end of the answer, an orderly end would say that all is there.
            && let Err(error) = tcp.set_zero_linger()
        {
            tracing::debug!(%error, "a broken answer could not be reset");
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Stream(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.client.did_read(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Carrier::Stream(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(count)) = polled {
            self.client.did_write(count);
        }
        polled
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Carrier::Stream(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        if let Poll::Ready(Ok(count)) = polled {
            self.client.did_write(count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.is_write_vectored(),
            Carrier::Stream(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Carrier::Stream(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
