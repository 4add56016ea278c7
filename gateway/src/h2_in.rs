//! A client's connection of HTTP/2: each of its streams becomes a connection of HTTP/1.1 that carries one request.
//!
//! Known by its first bytes (prior knowledge, RFC 9113 section 3.3). Frames, header compression and flow control are the h2 crate's.
//! Absent from here: what becomes of one stream (`h2_stream`), and server push.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;

use crate::client::{Client, ClientIo, Order};
use crate::core::Core;
use crate::door::Face;
use crate::h2_stream;
use crate::h2_watch::Watch;
use crate::pipe::Prefixed;

/// How the client's first bytes begin, up to what looks like the end of a head.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// How much of one request's body is taken before it went on.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// How much of the bodies of all requests of a connection is.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How much of an answer waits in a stream for its turn to be written.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// How many times [`Limits::h2_resets_max`](crate::Limits::h2_resets_max) of the streams that we have reset are remembered: what is still
/// under way for one that is forgotten is a fault of the client's to the h2 crate, which bears only so many in all the time of a connection. An
/// answer before the end of its request is such a reset, and no fault.
const REMEMBERED_FACTOR: usize = 10;

/// Whether a client that begins so speaks HTTP/2; the h2 crate reads the rest of its preface.
pub(crate) fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(PREFACE)
}

/// Serves the connection to its end. `io` has not been read, as it were.
pub(crate) async fn serve(core: &Rc<Core>, face: &Face, io: Prefixed<ClientIo>, client: Rc<Client>) {
    let limits = &core.limits;
    let head_bytes_max = u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX);
    let is_flood: Rc<Cell<bool>> = Rc::default();
    let handshake = Builder::new()
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(head_bytes_max)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(limits.h2_resets_max)
        .max_concurrent_reset_streams(limits.h2_resets_max.saturating_mul(REMEMBERED_FACTOR))
        .max_local_error_reset_streams(Some(limits.h2_resets_max.saturating_mul(REMEMBERED_FACTOR)))
        .handshake(Watch::new(io, Rc::clone(&core.clock), Rc::clone(&is_flood)));
    let connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(peer = %client.peer, %error, "a connection of HTTP/2 did not begin");
            return;
        }
    };
    client.await_streams();
    let streams =
        Rc::new(Streams { client, open: Cell::new(0), resets_left: Cell::new(limits.h2_resets_max), resets_max: limits.h2_resets_max });
    let face = Rc::new(face.clone());
    let mut serving = Serving { core, face, connection, streams, is_flood, has_said_goodbye: false, is_sent_away: false };
    poll_fn(|cx| serving.poll(cx)).await;
}

/// The streams of one connection.
#[derive(Debug)]
struct Streams {
    client: Rc<Client>,
    open: Cell<usize>,
    /// How many more may be reset; one that was answered pays for one that was reset.
    resets_left: Cell<usize>,
    resets_max: usize,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its answer was given.
    Answered,
    /// Its answer broke off on our side.
    Cut,
    /// It was reset by the client, or for a fault of the client's.
    Reset,
}

/// A stream that is being served. Dropped, it is not.
#[derive(Debug)]
pub(crate) struct Open(Rc<Streams>);

impl Open {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.client.carry_streams();
        Open(Rc::clone(streams))
    }

    /// The stream has ended.
    pub(crate) fn end(self, end: End) {
        let left = &self.0.resets_left;
        match end {
            End::Answered => left.set((left.get() + 1).min(self.0.resets_max)),
            End::Cut => {}
            End::Reset => left.set(left.get().saturating_sub(1)),
        }
        if left.get() == 0 {
            self.0.client.wake();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        if open == 0 {
            self.0.rest();
        }
    }
}

impl Streams {
    /// No stream is open.
    fn rest(&self) {
        match self.client.is_told() {
            Order::Serve => self.client.await_streams(),
            // The client knows that it is over, and has a moment to say that it does.
            Order::Finish | Order::Cut => self.client.begin_linger(),
        }
    }
}

struct Serving<'a> {
    core: &'a Rc<Core>,
    face: Rc<Face>,
    connection: Connection<Watch<Prefixed<ClientIo>>, Bytes>,
    streams: Rc<Streams>,
    is_flood: Rc<Cell<bool>>,
    has_said_goodbye: bool,
    is_sent_away: bool,
}

impl Serving<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let peer = self.streams.client.peer;
            if self.streams.client.is_told() != Order::Serve && !self.has_said_goodbye {
                self.has_said_goodbye = true;
                self.connection.graceful_shutdown();
                if self.streams.open.get() == 0 {
                    self.streams.rest();
                }
            }
            if (self.streams.resets_left.get() == 0 || self.is_flood.get()) && !self.is_sent_away {
                self.is_sent_away = true;
                self.core.meters.refused.add(1);
                self.core.complaints.sent_away(peer, &"it resets too many streams of HTTP/2, or sends frames for nothing");
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.streams.client.begin_linger();
            }
            match ready!(self.connection.poll_accept(cx)) {
                Some(Ok((request, respond))) => self.begin(request, respond),
                Some(Err(error)) => {
                    if error.is_library() && !self.is_sent_away {
                        self.core.meters.refused.add(1);
                        self.core.complaints.sent_away(peer, &error);
                    }
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
    }

    fn begin(&self, request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
        // Streams that the client has reset are not counted by the h2 crate, and may not have ended here.
        if self.streams.open.get() >= 2 * self.core.limits.h2_streams_max as usize || self.is_sent_away {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let open = Open::new(&self.streams);
        let client = self.streams.client.stream();
        self.core.tasks.spawn_local(h2_stream::run(Rc::clone(self.core), Rc::clone(&self.face), client, request, respond, open));
    }
}
