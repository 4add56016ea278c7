//! Connections: accepted, served, and finished politely when the worker is told to stop.
//!
//! A stop takes three steps. What the kernel has accepted already is still served, unless the socket was handed over, and nothing behind it; for a moment
//! ([`LINGER`]) a kept connection may still bring the request that was on its way, and gets `Connection: close` with the
//! answer; then idle connections are closed and those at work finish.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::Worker;
use crate::stop::Signals;
use crate::{Config, Error};

/// How long a kept connection may still bring a request after the stop.
const LINGER: Duration = Duration::from_millis(50);
/// How long requests may take after the stop. An agent loses patience sooner.
const FINISH: Duration = Duration::from_secs(600);
/// How long a connection may be idle, or take to send a request head: longer than any gateway keeps it.
const IDLE: Duration = Duration::from_secs(75);
/// The pause after a failed accept: with no file descriptor left the next one would fail at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves until SIGTERM or SIGINT, then finishes the requests that it has. Wants a current-thread runtime.
///
/// # Errors
/// When it cannot listen, or when requests were cut short by a second signal.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let address = SocketAddr::new(config.host, config.port);
    let is_shared = config.listener.is_some();
    let listener = match config.listener {
        Some(handed_over) => handed_over
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(handed_over))
            .map_err(|source| Error::Listen { address, source })?,
        None => listen(address)?,
    };
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
    // Nobody may be reading: that is no reason to stop.
    let _ = writeln!(io::stdout(), "worker {} listening on {address}", config.id);
    LocalSet::new().run_until(serve(listener, is_shared, Rc::new(Worker::new(config.id)), async || signals.next().await)).await
}

/// With SO_REUSEADDR (tokio sets it on Unix): the agent holds the port with an equal socket that does not listen.
fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
    socket
        .and_then(|socket| {
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(1024)
        })
        .map_err(|source| Error::Listen { address, source })
}

async fn serve(listener: TcpListener, is_shared: bool, worker: Rc<Worker>, mut stop: impl AsyncFnMut()) -> Result<(), Error> {
    let connections = TaskTracker::new();
    let stopping = CancellationToken::new();
    let start = |stream: TcpStream| {
        connections.spawn_local(connection(stream, Rc::clone(&worker), stopping.clone()));
    };
    loop {
        tokio::select! {
            biased;
            () = stop() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream),
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            },
        }
    }
    // The kernel has told those in its queue that they are connected. Asked directly: the runtime may not know of them yet. A socket that
    // was handed over outlives this process, and they wait for whoever gets it next.
    if let Ok(queue) = listener.into_std()
        && !is_shared
    {
        while let Ok((stream, _)) = queue.accept() {
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                start(stream);
            }
        }
    }
    stopping.cancel();
    connections.close();
    tokio::select! {
        () = connections.wait() => Ok(()),
        () = stop() => Err(Error::CutShort(connections.len())),
        () = tokio::time::sleep(FINISH) => Err(Error::CutShort(connections.len())),
    }
}

async fn connection(stream: TcpStream, worker: Rc<Worker>, stopping: CancellationToken) {
    // A small answer must not wait for the acknowledgement of the one before it; without it, it is only slower.
    let _ = stream.set_nodelay(true);
    let is_stopping = stopping.clone();
    let service = service_fn(move |request| {
        let worker = Rc::clone(&worker);
        let is_stopping = is_stopping.clone();
        async move {
            let mut answer = worker.answer(request).await?;
            if is_stopping.is_cancelled() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, hyper::Error>(answer)
        }
    });
    let mut connection =
        pin!(http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(IDLE).serve_connection(TokioIo::new(stream), service));
    let stopped = async {
        stopping.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    // An error here is the client's: it went away, or sent what is no HTTP. There is nobody to tell.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = stopped => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::mpsc;

    struct Running {
        address: SocketAddr,
        stop: mpsc::Sender<()>,
        ended: tokio::task::JoinHandle<Result<(), Error>>,
    }

    fn start() -> Running {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stops) = mpsc::channel(2);
        let stopped = async move || stops.recv().await.unwrap();
        let ended = tokio::task::spawn_local(serve(listener, false, Rc::new(Worker::new("w-1".to_owned())), stopped));
        Running { address, stop, ended }
    }

    async fn within<T>(wait: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap()
    }

    async fn call(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    fn get(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn it_says_who_it_is_on_every_path() {
        local(async {
            let running = start();
            for target in ["/", "/any/path", "/?x=1"] {
                let answer = call(running.address, &get(target)).await;
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert!(answer.ends_with("\r\n\r\nHello from Worker ID: w-1. Uptime: 0s\n"), "{answer}");
            }
            assert!(call(running.address, &get("/healthz")).await.ends_with("\r\n\r\nok\n"));
            assert!(call(running.address, &get("/?status=503")).await.starts_with("HTTP/1.1 503 "));
            let sized = call(running.address, &get("/?bytes=100000")).await;
            assert!(sized.contains("content-length: 100000\r\n"), "{}", &sized[..200]);
            assert_eq!(sized.split_once("\r\n\r\n").unwrap().1.len(), 100_000);
            assert!(call(running.address, &get("/?delay_ms=x")).await.starts_with("HTTP/1.1 400 "));
            assert!(call(running.address, &get("/crash")).await.starts_with("HTTP/1.1 405 "));
        });
    }

    #[test]
    fn it_sends_a_body_back_while_it_arrives() {
        local(async {
            let running = start();
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.write_all(b"POST /echo HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"first\r\n") {
                assert_ne!(within(stream.read_buf(&mut seen)).await.unwrap(), 0);
            }
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
            while !seen.ends_with(b"second\r\n0\r\n\r\n") {
                assert_ne!(within(stream.read_buf(&mut seen)).await.unwrap(), 0);
            }
        });
    }

    #[test]
    fn a_stop_lets_requests_finish_and_closes_idle_connections() {
        local(async {
            let running = start();
            let mut idle = TcpStream::connect(running.address).await.unwrap();
            idle.write_all(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n").await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"Uptime: 0s\n") {
                assert_ne!(within(idle.read_buf(&mut seen)).await.unwrap(), 0);
            }
            let mut busy = TcpStream::connect(running.address).await.unwrap();
            busy.write_all(b"GET /?delay_ms=300 HTTP/1.1\r\nHost: w\r\n\r\n").await.unwrap();
            // Nobody has accepted this one when the stop comes.
            let mut queued = TcpStream::connect(running.address).await.unwrap();
            queued.write_all(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n").await.unwrap();
            running.stop.send(()).await.unwrap();
            let mut answers = [String::new(), String::new(), String::new()];
            within(idle.read_to_string(&mut answers[0])).await.unwrap();
            assert_eq!(answers[0], "");
            within(queued.read_to_string(&mut answers[1])).await.unwrap();
            within(busy.read_to_string(&mut answers[2])).await.unwrap();
            for answer in &answers[1..] {
                assert!(answer.contains("connection: close\r\n") && answer.contains("Hello"), "{answer}");
            }
            within(running.ended).await.unwrap().unwrap();
            assert!(TcpStream::connect(running.address).await.is_err());
        });
    }

    #[test]
    fn a_second_stop_does_not_wait() {
        local(async {
            let running = start();
            let mut busy = TcpStream::connect(running.address).await.unwrap();
            busy.write_all(b"GET /?delay_ms=60000 HTTP/1.1\r\nHost: w\r\n\r\n").await.unwrap();
            running.stop.send(()).await.unwrap();
            running.stop.send(()).await.unwrap();
            assert!(matches!(within(running.ended).await.unwrap(), Err(Error::CutShort(1))));
        });
    }
}
