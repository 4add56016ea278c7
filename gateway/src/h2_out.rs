//! The connections of HTTP/2 to one replica: shared by the requests of one thread, as many as its limit of streams asks for.
//!
//! Absent from here: what becomes of one request (`h2_call`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::connect::{self, Error};
use crate::core::Core;
use crate::h2_call;
use crate::h2_proof::Proof;
use crate::link::{Lease, Link};
use crate::replica::Replica;
use crate::stream::Stream;

/// The most connections to one replica that one thread opens; with all of them full, requests wait within one.
const CONNECTIONS_MAX: usize = 16;
/// How much of one answer is taken before it went on.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// All answers together are not bounded again: clients that read slowly would hold up those of others on the same connection.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// How much of a request waits in a stream for its turn to be written.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// An idle connection that was in use so recently is not asked whether it has ended.
const UNSUSPECTED_IDLE: Duration = Duration::from_millis(100);
/// How much of a frame says what it is.
const GREETING_BYTES: usize = 4;
/// How long a connection that carries nothing more may take to say goodbye.
const GOODBYE_MS: u64 = 1_000;

/// The connections of one replica.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// One is opened at a time: all requests that wait for it share it.
    opening: Mutex<()>,
    failures: Cell<u64>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) requests: RefCell<SendRequest<Bytes>>,
    pub(crate) proof: Rc<Proof>,
    io: Io,
    link: Rc<Link>,
    active: Cell<usize>,
    idle_since: Cell<Instant>,
    /// How many requests it was given in all.
    taken: Cell<u64>,
    /// It gets no more requests.
    is_leaving: Cell<bool>,
}

/// A request that is under way on a connection.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) connection: Rc<Connection>,
}

impl Place {
    fn take(connection: &Rc<Connection>) -> Self {
        connection.active.set(connection.active.get() + 1);
        connection.taken.set(connection.taken.get() + 1);
        Place { connection: Rc::clone(connection) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.active.set(self.connection.active.get() - 1);
        if self.connection.active.get() == 0 {
            self.connection.idle_since.set(Instant::now());
            if self.connection.is_leaving.get() {
                self.connection.link.cut_after_ms(GOODBYE_MS);
            }
        }
    }
}

impl Connection {
    /// How many bytes were written to it.
    pub(crate) fn written(&self) -> u64 {
        self.io.0.written.get()
    }

    /// It was given more than one request: so it is no connection that fails from its beginning.
    pub(crate) fn was_in_use(&self) -> bool {
        self.taken.get() > 1
    }

    /// It takes requests, as far as is known.
    fn is_usable(&self) -> bool {
        // After a GOAWAY this says so, and after the end.
        let polled = self.requests.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(polled, Poll::Ready(Err(_))) || self.link.is_given_up() {
            return false;
        }
        let is_suspect = self.active.get() == 0 && self.idle_since.get().elapsed() >= UNSUSPECTED_IDLE;
        !(is_suspect && self.io.0.stream.borrow().has_ended())
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.requests.borrow().current_max_send_streams()
    }

    /// It gets no more requests, and ends after those that it has.
    fn leave(&self) {
        self.is_leaving.set(true);
        if self.active.get() == 0 {
            self.link.cut_after_ms(GOODBYE_MS);
        }
    }
}

impl Shared {
    /// All end after the requests that they have.
    pub(crate) fn leave(&self) {
        self.connections.take().iter().for_each(|connection| connection.leave());
    }

    /// Lets those go that were idle for longer than `limit`, or that have ended.
    pub(crate) fn sweep(&self, limit: Duration) {
        self.retain(|connection| connection.is_usable() && (connection.active.get() > 0 || connection.idle_since.get().elapsed() <= limit));
    }

    fn retain(&self, mut stays: impl FnMut(&Connection) -> bool) {
        self.connections.borrow_mut().retain(|connection| {
            let stays = stays(connection);
            if !stays {
                connection.leave();
            }
            stays
        });
    }

    /// One that takes a request.
    fn find(&self) -> Option<Place> {
        self.retain(Connection::is_usable);
        let connections = self.connections.borrow();
        let with_room = connections.iter().find(|connection| connection.has_room());
        let full = || connections.iter().min_by_key(|connection| connection.active.get()).filter(|_| connections.len() >= CONNECTIONS_MAX);
        with_room.or_else(full).map(Place::take)
    }
}

/// A stream on a connection to the replica, which is opened if there is none with room.
pub(crate) async fn open(core: &Rc<Core>, replica: &Replica) -> Result<Lease, Error> {
    let shared = &replica.shared;
    if let Some(lease) = begin(core, replica) {
        return Ok(lease);
    }
    let failures = shared.failures.get();
    let _turn = shared.opening.lock().await;
    if let Some(lease) = begin(core, replica) {
        return Ok(lease);
    }
    if shared.failures.get() != failures {
        return Err(Error::JustFailed { replica: replica.key.replica });
    }
    let connection = dial(core, replica).await.inspect_err(|_| shared.failures.set(failures + 1))?;
    let place = Place::take(&connection);
    if replica.is_retired() {
        connection.leave();
    } else {
        shared.connections.borrow_mut().push(connection);
    }
    Ok(h2_call::begin(core, replica, place))
}

/// A stream on a connection that is there.
fn begin(core: &Rc<Core>, replica: &Replica) -> Option<Lease> {
    let place = replica.shared.find()?;
    Some(h2_call::begin(core, replica, place))
}

/// Opens a connection, whose task ends with it.
async fn dial(core: &Rc<Core>, replica: &Replica) -> Result<Rc<Connection>, Error> {
    let no_http2 = |reason: String| Error::NoHttp2 { replica: replica.key.replica, reason };
    let stream = connect::reach(replica).await?;
    let io = Io(Rc::new(Observed {
        stream: RefCell::new(stream),
        written: Cell::new(0),
        is_full: Cell::new(false),
        read: Cell::default(),
        greeted: Notify::new(),
    }));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(core.limits.head_bytes_max).unwrap_or(u32::MAX));
    let within_ms = replica.connect_ms();
    let within = Duration::from_millis(within_ms);
    let (requests, mut running) = timeout(within, builder.handshake(io.clone()))
        .await
        .map_err(|_| no_http2(format!("no answer within {within_ms} ms")))?
        .map_err(|error| no_http2(error.to_string()))?;
    let (link, entry) = Link::enter(core, Some(replica));
    // Whoever waits for it may be gone before it has come.
    link.cut_after_ms(within_ms);
    let proof = Rc::new(Proof::new(running.ping_pong()));
    let (served, observed, proving) = (Rc::clone(&link), io.clone(), Rc::clone(&proof));
    core.tasks.spawn_local(async move {
        let _entry = entry;
        let ended = poll_fn(|cx| {
            if served.is_cut(cx) {
                return Poll::Ready(Ok(()));
            }
            let polled = Pin::new(&mut running).poll(cx);
            proving.end_turn(!observed.0.is_full.get(), cx);
            polled
        });
        let ended = ended.await;
        if let Err(error) = ended {
            tracing::debug!(replica = ?served.replica(), %error, "a connection of HTTP/2 failed");
        }
        observed.0.greeted.notify_one();
    });
    // RFC 9113 section 3.4: with its SETTINGS the worker says that it speaks HTTP/2 at all, and how many streams it takes.
    let is_greeted = timeout(within, io.0.greeted.notified()).await.is_ok();
    if !is_greeted || !io.0.is_greeting() {
        link.cut();
        return Err(no_http2("it does not begin with SETTINGS as HTTP/2 does".to_owned()));
    }
    link.end_wait();
    Ok(Rc::new(Connection {
        requests: RefCell::new(requests),
        proof,
        io,
        link,
        active: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        taken: Cell::new(0),
        is_leaving: Cell::new(false),
    }))
}

/// The bytes of a connection, counted: what was not written was not sent.
#[derive(Clone, Debug)]
struct Io(Rc<Observed>);

#[derive(Debug)]
struct Observed {
    stream: RefCell<Stream>,
    written: Cell<u64>,
    /// It took no more of what was to be written.
    is_full: Cell<bool>,
    /// What came first, and how much of it there is.
    read: Cell<([u8; GREETING_BYTES], usize)>,
    /// Notified when the first bytes have come, or none will.
    greeted: Notify,
}

impl Observed {
    fn look(&self, bytes: &[u8]) {
        let (mut first, had) = self.read.get();
        let count = (GREETING_BYTES - had).min(bytes.len());
        if count > 0 {
            first[had..had + count].copy_from_slice(&bytes[..count]);
            self.read.set((first, had + count));
            if had + count == GREETING_BYTES {
                self.greeted.notify_one();
            }
        }
    }

    /// The first bytes are those of SETTINGS (RFC 9113 sections 4.1 and 6.5).
    fn is_greeting(&self) -> bool {
        matches!(self.read.get(), ([0, _, _, 4], GREETING_BYTES))
    }
}

impl Io {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.0.written.set(self.0.written.get() + count as u64);
        }
        self.0.is_full.set(written.is_pending());
        written
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf);
        self.0.look(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        self.count(written)
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
