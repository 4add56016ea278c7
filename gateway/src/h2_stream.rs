//! One stream of a client's HTTP/2 connection, served by the code that serves a connection of HTTP/1.1.
//!
//! Its head is written as one of HTTP/1.1 into a stream in memory, its body behind that; the answer that comes back is sent in frames. So
//! replay, holding, limits and every rule of a head are the same for both versions.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request, StatusCode};
use tokio::io::DuplexStream;

use crate::body::Coding;
use crate::buffer::Input;
use crate::client::{Client, Order};
use crate::core::Core;
use crate::door::Face;
use crate::downstream;
use crate::framing::Framing;
use crate::h2_body::{Broken, Receiving, Sending};
use crate::h2_fields;
use crate::h2_in::{End, Open};
use crate::head::{self, Found};

/// How many bytes are under way in each direction.
const BYTES_MAX: usize = 64 * 1024;

/// Serves a stream to its end.
pub(crate) async fn run(
    core: Rc<Core>,
    face: Rc<Face>,
    client: Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    open: Open,
) {
    let _entry = core.clients.enter(Rc::clone(&client));
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let Ok(head) = h2_fields::request_head(&parts, has_body) else {
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return open.end(End::Reset);
    };
    let coding = if has_body && !parts.headers.contains_key(http::header::CONTENT_LENGTH) { Coding::Chunked } else { Coding::Plain };
    let (ours, theirs) = tokio::io::duplex(BYTES_MAX);
    let mut bridge = Some(Bridge {
        inner: ours,
        request: Some(Receiving::new(head, body, coding)),
        is_head: parts.method == Method::HEAD,
        head_bytes_max: core.limits.head_bytes_max,
        input: Input::new(&core.buffers),
        scanned: 0,
        respond,
        answer: None,
    });
    drop(parts);
    let mut inner: Pin<Box<dyn Future<Output = ()>>> = Box::pin({
        let (core, face, client) = (Rc::clone(&core), Rc::clone(&face), Rc::clone(&client));
        async move { downstream::serve(&core, &face, theirs, client).await }
    });
    let mut has_ended = false;
    let mut sent = 0;
    let mut end = None;
    let outcome = poll_fn(|cx| {
        // The second look is at what the first has led to.
        for _ in 0..2 {
            if let Some(working) = &mut bridge
                && let Poll::Ready(worked) = working.poll(cx)
            {
                if worked == End::Reset {
                    client.tell(Order::Cut);
                }
                end = Some(worked);
                bridge = None;
            }
            if !has_ended && inner.as_mut().poll(cx).is_ready() {
                has_ended = true;
                client.begin_answer();
            }
            // What is left of an answer is bound to go on, though nobody writes it any more.
            if let Some(working) = &mut bridge
                && has_ended
            {
                if working.sent() != sent {
                    sent = working.sent();
                    client.got_answer();
                }
                if client.order(cx) == Order::Cut {
                    working.respond.send_reset(Reason::INTERNAL_ERROR);
                    (bridge, end) = (None, Some(End::Cut));
                }
            }
            if let (None, Some(end), true) = (&bridge, end, has_ended) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    });
    let outcome = outcome.await;
    open.end(outcome);
}

struct Bridge {
    /// The other end is served as a client of HTTP/1.1.
    inner: DuplexStream,
    /// While there is something of the request to send.
    request: Option<Receiving>,
    is_head: bool,
    head_bytes_max: usize,
    input: Input,
    scanned: usize,
    respond: SendResponse<Bytes>,
    /// Once the head of the answer was sent.
    answer: Option<Sending>,
}

impl Bridge {
    /// How much of the answer's body has gone out.
    fn sent(&self) -> u64 {
        self.answer.as_ref().map_or(0, Sending::sent)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(request) = &mut self.request
            && let Poll::Ready(sent) = request.poll(&mut self.inner, cx)
        {
            if let Err(error @ Broken::Stream(_)) = sent {
                tracing::debug!(%error, "the body of a request broke off");
                self.respond.send_reset(Reason::CANCEL);
                return Poll::Ready(End::Reset);
            }
            // Where the other side takes no more of a request, it has an answer to it.
            if sent.is_ok() {
                self.request = None;
            }
        }
        let answered = match self.poll_answer(cx) {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                let is_reset = match &mut self.answer {
                    Some(answer) => answer.is_reset(cx),
                    None => self.respond.poll_reset(cx).is_ready(),
                };
                return if is_reset { Poll::Ready(End::Reset) } else { Poll::Pending };
            }
        };
        Poll::Ready(match answered {
            Ok(()) => End::Answered,
            Err(Broken::Stream(_) | Broken::Ended) => End::Reset,
            Err(error @ (Broken::Inner | Broken::Malformed)) => {
                tracing::debug!(%error, "an answer was cut");
                // RFC 9113 section 8.1: an answer that is not whole must not end as if it were.
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                End::Cut
            }
        })
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if let Some(answer) = &mut self.answer {
                return answer.poll(&mut self.inner, &mut self.input, cx);
            }
            match head::find_end(self.input.filled(), &mut self.scanned) {
                Found::End(length) => {
                    if self.take_head(length)? {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                Found::Partial => {}
                Found::BareLf => return Poll::Ready(Err(Broken::Malformed)),
            }
            if self.input.is_full() {
                // What was taken from a replica, and our own fields.
                self.input.grow(self.head_bytes_max.saturating_mul(2));
            }
            match ready!(self.input.poll_fill(&mut self.inner, cx)) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Inner)),
            }
        }
    }

    /// Sends the head that is at the front of the input. `true`: it is all there is of the answer.
    fn take_head(&mut self, length: usize) -> Result<bool, Broken> {
        let answer = h2_fields::answer(&self.input.filled()[..length], self.is_head).map_err(|_| Broken::Malformed)?;
        self.input.consume(length);
        self.scanned = 0;
        let status = answer.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Broken::Malformed);
        }
        if status.is_informational() {
            self.respond.send_informational(answer.response)?;
            return Ok(false);
        }
        let is_all = answer.framing == Framing::Length(0);
        let stream = self.respond.send_response(answer.response, is_all)?;
        if !is_all {
            self.answer = Some(Sending::new(stream, answer.framing));
        }
        Ok(is_all)
    }
}
