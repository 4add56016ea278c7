//! The client's side: reads requests from a connection and writes their answers, one after the other.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncWrite;

use crate::access_log::Line;
use crate::buffer::{Input, Output};
use crate::client::{Carrier, Client, ClientIo, Order};
use crate::config::Limits;
use crate::core::Core;
use crate::door::Face;
use crate::forward::{self, Answered};
use crate::framing::Framing;
use crate::h2_in;
use crate::head::{self, Found};
use crate::outbound::Outbound;
use crate::pipe::{self, Prefixed};
use crate::problem::{Manner, Problem};
use crate::record::Record;
use crate::request;

/// What a request line may hold beside its target: a method, a version, two spaces.
const LINE_REST_BYTES_MAX: usize = 64;

/// So many empty lines before a request are passed over; more are no mistake of a client's.
const EMPTY_LINES_MAX: u32 = 8;

/// A client connection: what was read from it and not used, and what is to be written to it.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub(crate) client: Rc<Client>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    io: ClientIo,
    /// The client has ended its side.
    has_ended: bool,
    /// The client has said nothing yet: it may begin as one of HTTP/2 does.
    is_new: bool,
}

/// What comes next on a connection.
enum Next {
    /// A head of so many bytes is at the front of the input.
    Head(usize),
    /// The beginning of HTTP/2.
    Http2,
    /// No head: what to say about it.
    Refused(Problem),
    /// Nothing.
    Over,
}

/// Serves one connection to its end.
pub(crate) async fn serve(core: &Rc<Core>, face: &Face, carrier: impl Into<Carrier>, client: Rc<Client>) {
    let io = ClientIo::new(carrier.into(), Rc::clone(&client));
    let down = Downstream {
        input: Input::new(&core.buffers),
        output: Output::new(&core.buffers),
        is_new: io.is_tcp(),
        io,
        has_ended: false,
        client: Rc::clone(&client),
    };
    let mut work = pin!(serve_uncut(core, face, down));
    poll_fn(|cx| if client.order(cx) == Order::Cut { Poll::Ready(()) } else { work.as_mut().poll(cx) }).await;
}

async fn serve_uncut(core: &Rc<Core>, face: &Face, mut down: Downstream) {
    loop {
        let length = match down.next_head(&core.limits).await {
            Next::Head(length) => length,
            Next::Http2 => {
                let first = Bytes::copy_from_slice(down.input.filled());
                let Downstream { client, io, .. } = down;
                // Boxed: a connection of HTTP/1.1 has no need of its room.
                return Box::pin(h2_in::serve(core, face, Prefixed { first, io }, client)).await;
            }
            Next::Refused(problem) => {
                let record = down.begin_unread(core);
                return down.refuse(&problem, record).await;
            }
            Next::Over => return,
        };
        let mut outbound = match down.read_request(core, length) {
            Ok(outbound) => outbound,
            Err(refused) => {
                let (problem, record) = *refused;
                return down.refuse(&problem, record).await;
            }
        };
        let keeps = match forward::answer(core, face, &mut down, &mut outbound).await {
            Ok(Answered::Relay(mut relay)) => {
                down.client.begin_answer();
                if let Err(cut) = relay.run(&mut down, &mut outbound).await {
                    tracing::debug!(peer = %down.client.peer, %cut, "an answer was cut");
                    outbound.record.cut(&cut);
                    down.client.cut_answer();
                    return;
                }
                relay.head.keeps_client
            }
            Ok(Answered::Tunnel(tunnel)) => {
                down.client.begin_answer();
                if poll_fn(|cx| down.poll_flush(cx)).await.is_ok() {
                    down.client.begin_tunnel();
                    let first = Bytes::copy_from_slice(down.input.filled());
                    pipe::run(down.io, first, tunnel).await;
                }
                return;
            }
            Ok(Answered::Here(last_hop)) => {
                let manner = down.manner(&outbound);
                let write = |out: &mut Vec<u8>| {
                    let head_bytes = last_hop.write(out, manner);
                    outbound.record.answered_here(StatusCode::OK, head_bytes);
                };
                if down.tell(write).await.is_err() {
                    return;
                }
                manner.keeps_client
            }
            Err(problem) => {
                let manner = down.manner(&outbound);
                let write = |out: &mut Vec<u8>| {
                    let head_bytes = problem.write(out, manner);
                    let asked = outbound.asked();
                    outbound.record.refused(&problem, head_bytes, || asked);
                };
                if down.tell(write).await.is_err() {
                    return;
                }
                manner.keeps_client
            }
        };
        // Who asked for the end of the connection, and has sent all of a request without a body, sends no more.
        let is_last = !outbound.head.keeps_alive && outbound.head.framing == Framing::Length(0) && down.input.is_empty();
        drop(outbound);
        down.client.end_answer();
        if !keeps {
            if is_last {
                return;
            }
            return down.linger().await;
        }
        if down.input.is_empty() {
            down.output.release();
        }
    }
}

impl Downstream {
    /// The connection is to end after the request that is being served.
    pub(crate) fn is_finishing(&self) -> bool {
        (self.has_ended && self.input.is_empty()) || self.client.is_told() != Order::Serve
    }

    /// Waits for the head of the next request.
    async fn next_head(&mut self, limits: &Limits) -> Next {
        let head_bytes_max = limits.head_bytes_max;
        let mut scanned = 0;
        let mut empty_lines = 0;
        if !self.input.is_empty() {
            self.client.begin_head();
        }
        poll_fn(|cx| {
            loop {
                let bytes = self.input.filled();
                match head::find_end(bytes, &mut scanned) {
                    // RFC 9112 section 2.2: an empty line before a request is passed over.
                    Found::End(2) if empty_lines < EMPTY_LINES_MAX => {
                        empty_lines += 1;
                        self.is_new = false;
                        self.input.consume(2);
                        scanned = 0;
                        continue;
                    }
                    // RFC 9113 section 3.4: who speaks HTTP/2 from the beginning says so in what is no request of HTTP/1.1.
                    Found::End(_) if self.is_new && h2_in::is_preface(bytes) => return Poll::Ready(Next::Http2),
                    Found::End(length) if length <= head_bytes_max => return Poll::Ready(Next::Head(length)),
                    Found::Partial if bytes.len() > limits.target_bytes_max + LINE_REST_BYTES_MAX && is_one_line(bytes) => {
                        return Poll::Ready(Next::Refused(request::target_too_long(limits)));
                    }
                    Found::Partial if bytes.len() < head_bytes_max => {}
                    Found::End(_) | Found::Partial => return Poll::Ready(Next::Refused(too_long(bytes, limits))),
                    Found::BareLf => {
                        let detail = "a line of the request's head ends with LF alone; it must end with CRLF";
                        return Poll::Ready(Next::Refused(Problem::new(StatusCode::BAD_REQUEST, detail)));
                    }
                }
                // What begins like this is no HTTP, however long one waits: TLS, say.
                if bytes.first().is_some_and(|first| !first.is_ascii_graphic() && *first != b'\r') {
                    let detail = "this is no request of HTTP/1.1; TLS is not spoken here";
                    return Poll::Ready(Next::Refused(Problem::new(StatusCode::BAD_REQUEST, detail)));
                }
                if self.input.is_full() {
                    self.input.grow(head_bytes_max);
                }
                match self.input.poll_fill(&mut self.io, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Poll::Ready(_) => return Poll::Ready(Next::Over),
                    // RFC 9110 section 15.5.9. Where nothing of a request came there is nothing to answer.
                    Poll::Pending if self.client.is_late() => {
                        return Poll::Ready(if self.input.is_empty() { Next::Over } else { Next::Refused(head_too_late(limits)) });
                    }
                    // What had come before the order to finish is served.
                    Poll::Pending if self.input.is_empty() && (self.has_ended || self.client.may_leave()) => {
                        return Poll::Ready(Next::Over);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Makes the head at the front of the input a request of ours.
    fn read_request(&mut self, core: &Rc<Core>, length: usize) -> Result<Outbound, Box<(Problem, Record)>> {
        let mut out = Output::new(&core.buffers);
        let head = request::rewrite(&self.input.filled()[..length], out.bytes(), &self.client, &core.limits, &core.request_ids);
        let head = head.map_err(|problem| Box::new((problem, self.begin_unread(core))))?;
        self.is_new = false;
        self.input.consume(length);
        self.client.begin_request(head.is_http10);
        let record = Record::begin(core, &self.client, || Line::of(&head, out.as_slice(), self.client.version(head.is_http10)));
        let mut outbound = Outbound::new(head, out, record);
        match outbound.take_what_is_there(&mut self.input) {
            Ok(()) => Ok(outbound),
            Err(fault) => Err(Box::new((fault.problem(), outbound.record))),
        }
    }

    /// The record of what is at the front of the input and is no request.
    fn begin_unread(&self, core: &Rc<Core>) -> Record {
        Record::begin(core, &self.client, || Line::unread(self.input.filled()))
    }

    /// Reads more of a request's body. `false`: there is no more.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.input.poll_fill(&mut self.io, cx) {
                Poll::Ready(Ok(count)) => return Poll::Ready(count > 0),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending if self.client.is_late() => return Poll::Ready(false),
                Poll::Pending => {
                    self.client.await_body();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Notices, between requests, that the client has ended its side or is gone (the error). What it sends meanwhile is the next request,
    /// and waits.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.has_ended && !self.input.is_full() {
            match self.input.poll_fill(&mut self.io, cx) {
                Poll::Ready(Ok(0)) => {
                    self.has_ended = true;
                    self.client.half_close();
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Writes the output, and forgets it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.pending().is_empty() {
            ready!(self.poll_write_with(b"", cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes once: the output, and behind it bytes from elsewhere. Returns how many of both went out.
    pub(crate) fn poll_write_with(&mut self, behind: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let ours = self.output.pending();
            let io = Pin::new(&mut self.io);
            let polled = match (ours.is_empty(), behind.is_empty()) {
                (true, _) => io.poll_write(cx, behind),
                (false, true) => io.poll_write(cx, ours),
                (false, false) => io.poll_write_vectored(cx, &[IoSlice::new(ours), IoSlice::new(behind)]),
            };
            match ready!(polled) {
                Ok(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero))),
                Ok(count) => {
                    self.output.did_send(count);
                    if self.output.pending().is_empty() {
                        self.output.clear();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// How a request is answered by ourselves.
    fn manner(&self, outbound: &Outbound) -> Manner {
        Manner {
            is_http10: outbound.head.is_http10,
            is_head: outbound.head.is_head,
            keeps_client: outbound.head.keeps_alive && outbound.is_read() && !self.is_finishing(),
            date: self.client.date(),
        }
    }

    /// Answers by what `write` writes.
    async fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.client.begin_answer();
        write(self.output.bytes());
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Answers what is no request, and ends the connection.
    async fn refuse(&mut self, problem: &Problem, mut record: Record) {
        tracing::debug!(peer = %self.client.peer, detail = problem.detail, "a request was refused");
        let manner = Manner { is_http10: false, is_head: false, keeps_client: false, date: self.client.date() };
        let write = |out: &mut Vec<u8>| {
            let head_bytes = problem.write(out, manner);
            record.refused(problem, head_bytes, String::new);
        };
        if self.tell(write).await.is_ok() {
            drop(record);
            self.client.end_answer();
            self.linger().await;
        }
    }

    /// Ends our side, and hears the client out for a moment: to close while bytes of it are unread would reset the connection, and our
    /// last answer could be lost on its way (RFC 9112 section 9.6). The sweep ends it.
    async fn linger(&mut self) {
        self.client.begin_linger();
        if poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await.is_err() {
            return;
        }
        self.input.consume(self.input.filled().len());
        poll_fn(|cx| {
            loop {
                match ready!(self.input.poll_fill(&mut self.io, cx)) {
                    Ok(0) => return Poll::Ready(()),
                    Ok(count) => self.input.consume(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

fn is_one_line(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', bytes).is_none()
}

fn head_too_late(limits: &Limits) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the head of the request did not come within {} ms", limits.head_ms))
}

fn too_long(bytes: &[u8], limits: &Limits) -> Problem {
    if is_one_line(bytes) {
        return request::target_too_long(limits);
    }
    let detail = format!("the head of the request is longer than {} bytes", limits.head_bytes_max);
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
}
