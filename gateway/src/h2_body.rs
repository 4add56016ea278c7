//! Bodies between HTTP/1.1, as it goes through a stream in memory, and the frames of HTTP/2.
//!
//! Nothing is taken from one side before what was taken earlier went on at the other: capacity is released when bytes were written, and
//! bytes are read when there is capacity for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncWrite, DuplexStream};

use crate::body::{Body, Coding};
use crate::buffer::Input;
use crate::chunks::{self, Step};
use crate::framing::Framing;
use crate::h2_fields;

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The side of HTTP/1.1 ended or takes no more.
    #[error("the other side of the gateway has ended it")]
    Inner,
    /// What the side of HTTP/1.1 said is no body.
    #[error("it is malformed")]
    Malformed,
    /// The stream, or all of its connection.
    #[error("the stream broke: {0}")]
    Stream(#[from] h2::Error),
    /// The stream takes no more.
    #[error("the stream has ended")]
    Ended,
}

/// A body of HTTP/2 on its way to HTTP/1.1, behind a head.
#[derive(Debug)]
pub(crate) struct Receiving {
    stream: RecvStream,
    coding: Coding,
    out: Vec<u8>,
    written: usize,
    /// What is to be released once `out` was written.
    owed: usize,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Data,
    Trailers,
    End,
}

impl Receiving {
    /// Begins with `head`.
    pub(crate) fn new(head: Vec<u8>, stream: RecvStream, coding: Coding) -> Self {
        Receiving { stream, coding, out: head, written: 0, owed: 0, at: At::Data }
    }

    /// Nothing follows the head.
    pub(crate) fn end(&mut self) {
        self.at = At::End;
    }

    /// Goes on as far as both sides let it. Ready: at its end.
    pub(crate) fn poll(&mut self, to: &mut DuplexStream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(to, cx))?;
            match self.at {
                At::Data => match ready!(self.stream.poll_data(cx)) {
                    Some(data) => self.take(&data?),
                    None => self.at = At::Trailers,
                },
                At::Trailers => {
                    let trailers = ready!(self.stream.poll_trailers(cx))?;
                    // A body of a known length has no place for trailers in HTTP/1.1.
                    if self.coding == Coding::Chunked {
                        let lines = trailers.map(|trailers| h2_fields::lines(&trailers)).unwrap_or_default();
                        chunks::write_end(&mut self.out, &lines);
                    }
                    self.at = At::End;
                }
                At::End => return Poll::Ready(Ok(())),
            }
        }
    }

    fn take(&mut self, data: &Bytes) {
        self.owed = data.len();
        match self.coding {
            Coding::Chunked if data.is_empty() => {}
            Coding::Chunked => chunks::write_chunk(&mut self.out, data),
            Coding::Plain => self.out.extend_from_slice(data),
        }
    }

    fn poll_write(&mut self, to: &mut DuplexStream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.out[self.written..])) {
                Ok(count @ 1..) => self.written += count,
                Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Inner)),
            }
        }
        self.out.clear();
        self.written = 0;
        if self.owed > 0 {
            self.stream.flow_control().release_capacity(std::mem::take(&mut self.owed))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// A body of HTTP/1.1 on its way to HTTP/2.
#[derive(Debug)]
pub(crate) struct Sending {
    stream: SendStream<Bytes>,
    body: Body,
    pending: BytesMut,
    sent: u64,
    /// Nothing more is to be taken after the next read, or now.
    hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    No,
    Soon,
    Now,
}

impl Sending {
    pub(crate) fn new(stream: SendStream<Bytes>, framing: Framing) -> Self {
        Sending { stream, body: Body::new(framing), pending: BytesMut::new(), sent: 0, hold: Hold::No }
    }

    /// Reads once more at most, and not at all where something was read before.
    pub(crate) fn hold(&mut self, has_read: bool) {
        self.hold = if has_read { Hold::Now } else { Hold::Soon };
    }

    /// Reads on.
    pub(crate) fn go_on(&mut self) {
        self.hold = Hold::No;
    }

    /// It may read no more.
    pub(crate) fn is_held(&self) -> bool {
        self.hold == Hold::Now
    }

    /// How many bytes have gone out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the peer has reset the stream, or its connection has ended. The task is woken when it does.
    pub(crate) fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.poll_reset(cx).is_ready()
    }

    /// Goes on as far as both sides let it. Ready: at its end.
    pub(crate) fn poll(&mut self, from: &mut DuplexStream, input: &mut Input, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            while !self.pending.is_empty() {
                self.stream.reserve_capacity(self.pending.len());
                let room = match self.stream.capacity() {
                    0 => ready!(self.stream.poll_capacity(cx)).ok_or(Broken::Ended)??,
                    room => room,
                };
                let part = self.pending.split_to(room.min(self.pending.len())).freeze();
                self.sent += part.len() as u64;
                let is_last = self.pending.is_empty() && self.body.has_ended() && self.trailers().is_empty();
                self.stream.send_data(part, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            if self.body.has_ended() {
                let trailers = self.trailers();
                if trailers.is_empty() {
                    self.stream.send_data(Bytes::new(), true)?;
                } else {
                    let trailers = h2_fields::trailers(trailers).map_err(|_| Broken::Malformed)?;
                    self.stream.send_trailers(trailers)?;
                }
                return Poll::Ready(Ok(()));
            }
            self.take(input)?;
            if !self.pending.is_empty() || self.body.has_ended() {
                continue;
            }
            if self.is_held() {
                return Poll::Pending;
            }
            match ready!(input.poll_fill(from, cx)) {
                Ok(1..) if self.hold == Hold::Soon => self.hold = Hold::Now,
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Inner)),
            }
        }
    }

    fn trailers(&self) -> &[u8] {
        match &self.body {
            Body::Chunked(chunks) => chunks.trailers(),
            Body::Length(_) | Body::UntilEnd => &[],
        }
    }

    /// Takes all that is there.
    fn take(&mut self, input: &mut Input) -> Result<(), Broken> {
        loop {
            let length = match &mut self.body {
                Body::Chunked(chunks) => match chunks.next(input).map_err(|_| Broken::Malformed)? {
                    Step::Data(length) => length,
                    Step::More | Step::Ended => return Ok(()),
                },
                body => body.take_plain(input),
            };
            if length == 0 {
                return Ok(());
            }
            self.pending.extend_from_slice(&input.filled()[..length]);
            input.consume(length);
        }
    }
}
