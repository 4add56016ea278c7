//! What the worker answers: its paths, each with its rule. `--help` documents them.

use std::process;
use std::time::Instant;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Bytes, Incoming};

use crate::filler::Filler;
use crate::query;

/// A text of our own, as many bytes as were asked for, or the caller's body on its way back.
pub type Body = Either<Full<Bytes>, Either<Filler, Incoming>>;

/// Who answers.
#[derive(Debug)]
pub struct Worker {
    id: String,
    started: Instant,
}

impl Worker {
    /// A worker whose uptime begins now.
    pub fn new(id: String) -> Self {
        Worker { id, started: Instant::now() }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// When the caller's body breaks off: hyper then closes the connection.
    pub async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let wish = match query::read(request.uri().query().unwrap_or_default()) {
            Ok(wish) => wish,
            Err(sentence) => return Ok(text(StatusCode::BAD_REQUEST, format!("{sentence}\n"))),
        };
        if request.uri().path() == "/crash" {
            if request.method() == Method::POST {
                eprintln!("worker: a crash was asked for, exit code {}", wish.exit_code);
                process::exit(i32::from(wish.exit_code));
            }
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "crash with POST /crash\n".to_owned());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(answer);
        }
        if !wish.delay.is_zero() {
            tokio::time::sleep(wish.delay).await;
        }
        if request.uri().path() == "/echo" {
            return Ok(echo(request, wish.status));
        }
        let path_is_healthz = request.uri().path() == "/healthz";
        drain(request.into_body()).await?;
        if let Some(bytes) = wish.bytes {
            return Ok(binary(wish.status, Either::Left(Filler::new(bytes))));
        }
        let body = if path_is_healthz {
            "ok\n".to_owned()
        } else {
            format!("Hello from Worker ID: {}. Uptime: {}s\n", self.id, self.started.elapsed().as_secs())
        };
        Ok(text(wish.status, body))
    }
}

/// Reads a body that nobody wants to its end, so that the connection can carry the next request.
async fn drain(mut body: Incoming) -> Result<(), hyper::Error> {
    while !body.is_end_stream() {
        match body.frame().await {
            Some(frame) => drop(frame?),
            None => break,
        }
    }
    Ok(())
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// The body flows back while it arrives: none of it is kept.
fn echo(request: Request<Incoming>, status: StatusCode) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut answer = binary(status, Either::Right(body));
    if let Some(kind) = head.headers.get(CONTENT_TYPE) {
        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    answer
}

fn binary(status: StatusCode, body: Either<Filler, Incoming>) -> Response<Body> {
    let mut answer = Response::new(Either::Right(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer
}
