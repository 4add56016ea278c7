//! The http check: one GET on a connection of its own to the replica's port. What it answers is not followed, and little of it is read.

use std::pin::pin;

use bytes::Bytes;
use cluster::health::StatusRange;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::refusal;
use crate::probe::connect;

/// The most that the head of an answer may have.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// So much of a body is taken, so that most replicas get rid of theirs before the connection is closed.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Asks. A failure is told in words that follow "it".
pub async fn get(port: u16, path: &str, host: Option<&str>, passes: StatusRange) -> Result<(), String> {
    let stream = connect(port).await.map_err(|e| refusal(&e))?;
    let host = host.map_or_else(|| format!("localhost:{port}"), str::to_owned);
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "ostler-agent")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("cannot be asked: {e}"))?;
    let status = exchange(stream, request).await.map_err(|e| format!("gave no HTTP/1.1 answer: {e}"))?;
    if passes.contains(status.as_u16()) { Ok(()) } else { Err(format!("answered {} ({passes} passes)", status.as_u16())) }
}

async fn exchange(stream: tokio::net::TcpStream, request: Request<Empty<Bytes>>) -> hyper::Result<StatusCode> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let mut asked = pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut taken = 0;
        while taken < BODY_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(status)
    });
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        status = &mut asked => status,
        ended = &mut connection => match ended {
            Ok(()) => asked.await,
            Err(e) => Err(e),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a check makes of this answer, and what was asked.
    async fn outcome(answer: &'static [u8]) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let replica = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // Nothing else is ever asked: no redirect is followed.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty());
            String::from_utf8(asked).unwrap()
        });
        let result = get(port, "/healthz?x=1", Some("app.example"), StatusRange::default()).await;
        (result, replica.await.unwrap())
    }

    #[tokio::test]
    async fn the_status_decides_and_nothing_else() {
        let (result, asked) = outcome(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await;
        assert_eq!(result, Ok(()));
        assert!(asked.starts_with("GET /healthz?x=1 HTTP/1.1\r\nhost: app.example\r\n"), "{asked}");
        // CVE-2022-29153: a redirect to somewhere else is an answer, and is not followed.
        let (result, _) = outcome(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(result, Ok(()));
        let (result, _) = outcome(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\n\r\n").await;
        assert_eq!(result, Err("answered 503 (200-399 passes)".to_owned()));
    }

    #[tokio::test]
    async fn what_is_no_answer_fails_with_a_sentence() {
        for answer in [&b""[..], b"hello\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"] {
            let (result, _) = outcome(answer).await;
            assert!(result.unwrap_err().starts_with("gave no HTTP/1.1 answer: "));
        }
        let flood: &'static [u8] = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000)).leak().as_bytes();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(flood).await;
        });
        assert!(get(port, "/", None, StatusRange::default()).await.unwrap_err().starts_with("gave no HTTP/1.1 answer: "));
        assert_eq!(get(port, "/", None, StatusRange::default()).await, Err("refused the connection".to_owned()));
    }
}
