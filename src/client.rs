//! HTTP to a controller: one request, one connection, every wait with a deadline. No pool, no TLS, no redirects.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use cluster::node_url::NodeUrl;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a connection may take: every address of the name together.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, to its last byte.
const ANSWER: Duration = Duration::from_secs(15);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, or it cannot be reached.
    #[error("no controller answers at {url} ({source}): start one with `ostler controller`, or name another with --controller URL")]
    Unreachable {
        /// Where.
        url: NodeUrl,
        /// What the system said.
        source: io::Error,
    },
    /// It took the connection and said nothing in time.
    #[error("the controller at {url} did not answer within {} s: is it frozen, or is something else listening there?", .waited.as_secs())]
    Silent {
        /// Where.
        url: NodeUrl,
        /// For how long.
        waited: Duration,
    },
    /// What came is no HTTP, or broke off.
    #[error("the answer of {url} broke off or is no HTTP ({source}): is it a controller?")]
    Broken {
        /// Where.
        url: NodeUrl,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The answer is larger than anything a controller says.
    #[error("the answer of {0} is longer than 256 MiB: is it a controller?")]
    TooLong(NodeUrl),
    /// The answer is not what the API promises.
    #[error("the answer of {url} is not what a controller says ({reason}): is it one, and of this version?")]
    Foreign {
        /// Where.
        url: NodeUrl,
        /// What does not fit.
        reason: String,
    },
    /// The controller refused the call, and says why.
    #[error("{detail} ({status})")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The problem's detail.
        detail: String,
    },
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Client {
    url: NodeUrl,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// An answer that goes on.
pub struct Stream {
    url: NodeUrl,
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Client {
    /// The controller at `url`.
    pub fn new(url: NodeUrl) -> Self {
        Client { url }
    }

    /// Where it is.
    pub fn url(&self) -> &NodeUrl {
        &self.url
    }

    /// `GET`, whatever the status is.
    pub async fn get(&self, target: &str) -> Result<Answer, Error> {
        self.whole(self.request(Method::GET, target, String::new())?).await
    }

    /// `POST` of a JSON text, whatever the status is.
    pub async fn post(&self, target: &str, json: String) -> Result<Answer, Error> {
        self.whole(self.request(Method::POST, target, json)?).await
    }

    /// `PUT` of a JSON text, whatever the status is.
    pub async fn put(&self, target: &str, json: String) -> Result<Answer, Error> {
        self.whole(self.request(Method::PUT, target, json)?).await
    }

    /// `DELETE`, whatever the status is.
    pub async fn delete(&self, target: &str) -> Result<Answer, Error> {
        self.whole(self.request(Method::DELETE, target, String::new())?).await
    }

    /// `GET` of a body that may go on for ever.
    ///
    /// # Errors
    /// As every call; [`Error::Refused`] unless the status is 200.
    pub async fn open(&self, target: &str) -> Result<Stream, Error> {
        let request = self.request(Method::GET, target, String::new())?;
        let (connection, response) = self.in_time(self.send(request)).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let body = self.in_time(self.collect(response.into_body())).await?;
            return Err(Answer { status, body }.refusal());
        }
        Ok(Stream { url: self.url.clone(), body: response.into_body(), _connection: connection })
    }

    fn request(&self, method: Method, target: &str, body: String) -> Result<Request<Full<Bytes>>, Error> {
        Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.url.authority())
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::Foreign { url: self.url.clone(), reason: error.to_string() })
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        self.in_time(async {
            let (_connection, response) = self.send(request).await?;
            let status = response.status();
            Ok(Answer { status, body: self.collect(response.into_body()).await? })
        })
        .await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(ANSWER, call).await.unwrap_or_else(|_| Err(Error::Silent { url: self.url.clone(), waited: ANSWER }))
    }

    /// The connection lives in the set: dropping it closes the connection.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(JoinSet<()>, Response<Incoming>), Error> {
        let broken = |source| Error::Broken { url: self.url.clone(), source };
        let stream = timeout(CONNECT, TcpStream::connect((self.url.host(), self.url.port())))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| Error::Unreachable { url: self.url.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error reaches the request or the body as well.
            let _ = connection.await;
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((driver, response))
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, Error> {
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(source) => Error::Broken { url: self.url.clone(), source: *source },
                Err(other) if other.is::<LengthLimitError>() => Error::TooLong(self.url.clone()),
                Err(other) => Error::Foreign { url: self.url.clone(), reason: other.to_string() },
            }),
        }
    }
}

impl Answer {
    /// The body of a 200; everything else is a refusal.
    pub fn accepted(self) -> Result<Bytes, Error> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// What the problem says (RFC 9457), else the first line of whatever came.
    fn refusal(self) -> Error {
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: String,
        }
        let detail = match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => problem.detail,
            Err(_) => {
                let text: String = String::from_utf8_lossy(&self.body).lines().next().unwrap_or_default().chars().take(200).collect();
                if text.is_empty() { "refused without a reason".to_owned() } else { text }
            }
        };
        Error::Refused { status: self.status, detail }
    }
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
                Err(source) => return Some(Err(Error::Broken { url: self.url.clone(), source })),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Answers one connection with `answer`, and says what was asked.
    async fn serve(answer: &'static str) -> (Client, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !String::from_utf8_lossy(&asked).contains("\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (Client::new(url), asked)
    }

    #[tokio::test]
    async fn a_call_carries_host_and_json() {
        let (client, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        let answer = client.post("/scale", "{\"count\":4}".to_owned()).await.unwrap();
        assert_eq!(&answer.accepted().unwrap()[..], b"{}");
        let asked = asked.await.unwrap().to_ascii_lowercase();
        assert!(
            asked.starts_with("post /scale http/1.1\r\n") && asked.contains(&format!("host: {}\r\n", client.url().authority())),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_controller() {
        let problem = "HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n{\"detail\":\"no such app x\"}";
        let (client, _asked) = serve(problem).await;
        let error = client.get("/status").await.unwrap().accepted().unwrap_err().to_string();
        assert!(error.contains("(404 Not Found)"), "{error}");
        let (client, _asked) = serve("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n").await;
        let error = client.open("/logs").await.err().unwrap().to_string();
        assert_eq!(error, "refused without a reason (500 Internal Server Error)");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_body() {
        let (client, _asked) = serve("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n2\r\nb\n\r\n0\r\n\r\n").await;
        let mut stream = client.open("/logs").await.unwrap();
        let mut all = Vec::new();
        while let Some(bytes) = stream.next().await {
            all.extend_from_slice(&bytes.unwrap());
        }
        assert_eq!(all, b"a\nb\n");
    }

    #[tokio::test]
    async fn nobody_there_or_no_http_is_said_so() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(format!("http://{free}").parse().unwrap());
        let error = client.get("/status").await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("no controller answers at http://{free} (")), "{error}");
        let (client, _asked) = serve("220 smtp.example ESMTP\r\n\r\n").await;
        assert!(matches!(client.get("/status").await, Err(Error::Broken { .. })));
    }
}
