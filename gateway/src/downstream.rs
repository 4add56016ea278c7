//! The client's side: reads requests from a connection and writes their answers, one after the other.
//!
//! What is behind is asked through [`serve`]'s `answer`, and sees requests as a head and a [`ClientBody`], answers as a head and an
//! [`AnswerBody`]: hyper's HTTP/1.1 server is known in this file alone, so another reader can take its place.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::answer::AnswerBody;
use crate::client::{Client, ClientIo, Order};
use crate::config::Limits;
use crate::pipe;

/// How much of a connection's bytes are held in each direction: at least a whole head, and enough to keep a large body moving.
pub(crate) fn buffer_bytes(limits: &Limits) -> usize {
    limits.head_bytes_max.saturating_mul(2).max(128 * 1024)
}

/// The settings of the HTTP/1.1 server.
pub(crate) fn settings(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    // The sweep keeps the deadlines.
    builder.header_read_timeout(None);
    builder.max_headers(limits.head_fields_max);
    builder.max_header_size(limits.head_bytes_max);
    builder.max_buf_size(buffer_bytes(limits));
    builder
}

/// The body of a client's request. It is read from the connection only as far as it is asked for.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    client: Rc<Client>,
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if polled.is_pending() {
            self.client.await_body();
        }
        let frame = ready!(polled);
        self.client.got_body();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Serves one connection to its end: asks `answer` for the answer to each request, and gives the bytes to the tunnel that a 101 opened.
pub(crate) async fn serve<F>(settings: &Builder, tcp: TcpStream, client: Rc<Client>, answer: impl Fn(Request<ClientBody>, Rc<Client>) -> F)
where
    F: Future<Output = Response<AnswerBody>>,
{
    let mut work = pin!(serve_uncut(settings, tcp, &client, answer));
    poll_fn(|cx| if client.order(cx) == Order::Cut { Poll::Ready(()) } else { work.as_mut().poll(cx) }).await;
}

async fn serve_uncut<F>(settings: &Builder, tcp: TcpStream, client: &Rc<Client>, answer: impl Fn(Request<ClientBody>, Rc<Client>) -> F)
where
    F: Future<Output = Response<AnswerBody>>,
{
    let has_asked_to_upgrade = std::cell::Cell::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        client.begin_request(request.version());
        if request.headers().contains_key(UPGRADE) {
            has_asked_to_upgrade.set(true);
        }
        let answer = answer(request.map(|incoming| ClientBody { incoming, client: Rc::clone(client) }), Rc::clone(client));
        async move {
            let answer = answer.await;
            client.begin_answer();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = settings.serve_connection(TokioIo::new(ClientIo::new(tcp, Rc::clone(client))), service);
    let mut is_finishing = false;
    let mut ended = poll_fn(|cx| {
        if !is_finishing && client.order(cx) == Order::Finish {
            is_finishing = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await;
    if let Some(tunnel) = client.take_tunnel() {
        let parts = connection.into_parts();
        pipe::run(parts.io.into_inner(), parts.read_buf, tunnel).await;
        return;
    }
    if ended.is_ok() && has_asked_to_upgrade.get() {
        // Where an upgrade was asked for and refused, hyper leaves the stream open and perhaps unflushed: once more, for the rest.
        ended = poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await;
    }
    let is_answered = match ended {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(peer = %client.peer, %error, "a client connection failed");
            // A malformed request was answered by a 400.
            error.is_parse()
        }
    };
    if is_answered && !is_finishing {
        linger(connection.into_parts().io.into_inner(), client).await;
    }
}

/// Hears the client out for a moment: to close while bytes of it are unread would reset the connection, and our last answer could be
/// lost on its way (RFC 9112 section 9.6). The sweep ends it.
async fn linger(mut io: ClientIo, client: &Client) {
    client.begin_linger();
    let mut dropped = [0; 4_096];
    loop {
        match io.read(&mut dropped).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
