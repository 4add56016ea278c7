//! One request as a stream of a shared connection of HTTP/2: it comes as a message of HTTP/1.1 through a stream in memory, and so goes
//! its answer back.
//!
//! What was written into that stream says nothing of what a replica has: whether the replica took the request is told to its link (RFC
//! 9113 section 8.7).

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use httparse::Status;
use tokio::io::{AsyncWrite, DuplexStream};
use tokio::sync::oneshot;

use crate::answer::write_status_line;
use crate::body::Coding;
use crate::buffer::{BUFFER_BYTES, Input};
use crate::clock::Date;
use crate::core::Core;
use crate::fields::{self, Kind};
use crate::framing::Framing;
use crate::h2_body::{Broken, Receiving, Sending};
use crate::h2_fields::{self, Untranslatable};
use crate::h2_out::Place;
use crate::head::{self, Found};
use crate::link::Lease;
use crate::outbound::KEPT_BYTES_MAX;
use crate::problem::{Manner, Problem};
use crate::replica::Replica;
use crate::stream::Stream;

/// How many bytes are under way in each direction. Before it is proven that the worker has taken a request in, no more of its body is sent
/// than one read brings. With what is under way behind that, it is less than what is kept of a body ([`KEPT_BYTES_MAX`]) before more of it
/// is taken from the client.
const BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(2 * BYTES_MAX + BUFFER_BYTES <= KEPT_BYTES_MAX);

/// Begins a request on a connection. What is written to the lease becomes its stream.
pub(crate) fn begin(core: &Rc<Core>, replica: &Replica, place: Place) -> Lease {
    let (ours, theirs) = tokio::io::duplex(BYTES_MAX);
    let mut lease = Lease::open(core, Stream::Local(ours), Some(replica));
    let (link, replica) = (Rc::clone(lease.link()), replica.key);
    let (held, gone) = oneshot::channel();
    lease.call = Some(held);
    let mut input = Input::new(&core.buffers);
    let head_bytes_max = core.limits.head_bytes_max.saturating_mul(2);
    let clock = Rc::clone(&core.clock);
    core.tasks.spawn_local(async move {
        let mut inner = theirs;
        let Some(length) = read_head(&mut inner, &mut input, head_bytes_max).await else { return };
        let asked = ask(&input.filled()[..length]);
        input.consume(length);
        let Ok(asked) = asked else { return refuse(&mut inner, clock.date()).await };
        let mut call = Call {
            inner,
            input,
            gone,
            is_head: asked.request.method() == Method::HEAD,
            written: place.connection.written(),
            turn: place.connection.proof.turn(),
            place,
            out: Vec::new(),
            out_written: 0,
            request: None,
            response: None,
            answer: None,
        };
        let sent = call.place.connection.requests.borrow_mut().send_request(asked.request, asked.framing == Framing::Length(0));
        let outcome = match sent {
            Ok((response, stream)) => {
                call.response = Some(response);
                if asked.framing != Framing::Length(0) {
                    let mut request = Sending::new(stream, asked.framing);
                    request.hold(!call.input.is_empty());
                    call.request = Some(request);
                }
                poll_fn(|cx| call.poll(cx)).await
            }
            // It takes no more of them.
            Err(_) => Err(Unanswered { is_processed: false, is_outlived: call.place.connection.was_in_use() }),
        };
        if let Err(unanswered) = outcome {
            tracing::debug!(?replica, ?unanswered, "no answer on a connection of HTTP/2");
            if !unanswered.is_processed {
                link.was_unprocessed();
            }
            if unanswered.is_outlived {
                link.was_outlived();
            }
        }
        // Whoever reads at the other end of `call.inner` looks at the link then.
        drop(call);
    });
    lease
}

/// Waits for the head of the request. `None`: it is not sent after all.
async fn read_head(inner: &mut DuplexStream, input: &mut Input, head_bytes_max: usize) -> Option<usize> {
    let mut scanned = 0;
    poll_fn(|cx| {
        loop {
            match head::find_end(input.filled(), &mut scanned) {
                Found::End(length) => return Poll::Ready(Some(length)),
                Found::Partial => {}
                Found::BareLf => return Poll::Ready(None),
            }
            if input.is_full() {
                input.grow(head_bytes_max);
            }
            match ready!(input.poll_fill(inner, cx)) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Poll::Ready(None),
            }
        }
    })
    .await
}

/// A request as it is sent.
struct Asked {
    request: Request<()>,
    framing: Framing,
}

/// Reads the head of a request that was written by this gateway.
fn ask(head: &[u8]) -> Result<Asked, Untranslatable> {
    let mut fields = [const { MaybeUninit::uninit() }; h2_fields::FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(Status::Complete(_)) = parsed.parse_with_uninit_headers(head, &mut fields) else { return Err(Untranslatable) };
    let (Some(method), Some(path)) = (parsed.method, parsed.path) else { return Err(Untranslatable) };
    let (mut headers, delimiters) = h2_fields::take_fields(parsed.headers)?;
    let host = headers.remove(header::HOST).ok_or(Untranslatable)?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| Untranslatable)?);
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Untranslatable)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| Untranslatable)?;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Untranslatable)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(Asked { request, framing: delimiters.framing(Framing::Length(0)) })
}

/// Answers a request that HTTP/2 has no words for, such as a path with characters that no URI has.
async fn refuse(inner: &mut DuplexStream, date: Date) {
    let mut out = Vec::new();
    let manner = Manner { is_http10: false, is_head: false, keeps_client: false, date };
    Problem::new(StatusCode::BAD_REQUEST, "the target or the host has characters that HTTP/2 does not carry").write(&mut out, manner);
    let _ = tokio::io::AsyncWriteExt::write_all(inner, &out).await;
}

/// There will be no answer.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    /// The replica may have taken the request.
    is_processed: bool,
    /// It was the connection that ended.
    is_outlived: bool,
}

/// A request under way. Dropped before its answer is whole, it resets its stream.
struct Call {
    /// The other end is used as a connection of HTTP/1.1.
    inner: DuplexStream,
    input: Input,
    /// Ready when nobody waits for the answer any more.
    gone: oneshot::Receiver<()>,
    is_head: bool,
    place: Place,
    /// How much had been written to the connection before this request.
    written: u64,
    /// When it was sent, as the connection counts.
    turn: u64,
    /// Interim answers on their way, and how much of them was written.
    out: Vec<u8>,
    out_written: usize,
    /// While there is something of the request to send.
    request: Option<Sending>,
    /// Until the head of the answer has come.
    response: Option<ResponseFuture>,
    answer: Option<Receiving>,
}

impl Call {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        if Pin::new(&mut self.gone).poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while let Some(request) = &mut self.request {
            match request.poll(&mut self.inner, &mut self.input, cx) {
                Poll::Pending if request.is_held() && self.place.connection.proof.poll(self.turn, cx).is_ready() => request.go_on(),
                Poll::Pending => break,
                // The replica takes no more of it: the answer says why.
                Poll::Ready(Ok(()) | Err(Broken::Stream(_) | Broken::Ended)) => self.request = None,
                // It broke off: what the replica has of it must not look whole.
                Poll::Ready(Err(Broken::Inner | Broken::Malformed)) => return Poll::Ready(Ok(())),
            }
        }
        loop {
            if let Some(answer) = &mut self.answer {
                if let Err(error) = ready!(answer.poll(&mut self.inner, cx)) {
                    tracing::debug!(%error, "an answer broke off");
                }
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_write(cx)).is_err() {
                return Poll::Ready(Ok(()));
            }
            let Some(response) = &mut self.response else { return Poll::Ready(Ok(())) };
            if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                if interim.status() != StatusCode::SWITCHING_PROTOCOLS {
                    write_head(&mut self.out, &interim);
                    self.out.extend_from_slice(b"\r\n");
                }
                continue;
            }
            match ready!(Pin::new(response).poll(cx)) {
                Ok(response) => self.begin_answer(response),
                Err(error) => return Poll::Ready(Err(self.unanswered(&error))),
            }
        }
    }

    /// RFC 9113 section 8.7: what a GOAWAY leaves out or REFUSED_STREAM refuses was not taken; nor was what was not written.
    fn unanswered(&self, error: &h2::Error) -> Unanswered {
        let is_left_out = error.is_go_away() && error.is_remote();
        let is_refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        let is_unwritten = self.place.connection.written() == self.written;
        let is_processed = !(is_left_out || is_refused || is_unwritten);
        Unanswered { is_processed, is_outlived: self.place.connection.was_in_use() && !error.is_reset() }
    }

    fn begin_answer(&mut self, response: Response<RecvStream>) {
        self.response = None;
        let (parts, body) = response.into_parts();
        let head = Response::from_parts(parts, ());
        let status = head.status();
        let is_bodiless = self.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let mut out = std::mem::take(&mut self.out);
        write_head(&mut out, &head);
        let coding = if head.headers().contains_key(header::CONTENT_LENGTH) || is_bodiless {
            Coding::Plain
        } else if body.is_end_stream() {
            // Nothing follows: so it stays for gRPC, whose failed calls are told by a head alone.
            out.extend_from_slice(b"content-length: 0\r\n");
            Coding::Plain
        } else {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Coding::Chunked
        };
        out.extend_from_slice(b"\r\n");
        let mut answer = Receiving::new(out, body, coding);
        if is_bodiless {
            answer.end();
        }
        self.answer = Some(answer);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_written < self.out.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.out_written..])) {
                Ok(count @ 1..) => self.out_written += count,
                Ok(_) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.out.clear();
        self.out_written = 0;
        Poll::Ready(Ok(()))
    }
}

/// Writes the head of an answer as one of HTTP/1.1, but for what delimits its body.
fn write_head(out: &mut Vec<u8>, response: &Response<()>) {
    write_status_line(out, response.status());
    for (name, value) in response.headers() {
        let kind = fields::kind(name.as_str().as_bytes());
        if !h2_fields::is_of_connection(kind) && kind != Kind::Te {
            fields::write(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}
