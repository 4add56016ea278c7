//! Accepting connections, and seeing them off.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use crate::owner::Door;

/// The most connections at a time; tunnels are not counted, since their gateways count them.
const CONNECTIONS_MAX: usize = 1_024;
/// The most bodies that are read at a time.
const LARGE_BODIES_MAX: usize = 4;
/// The most readers of logs at a time.
const LOG_READERS_MAX: usize = 32;
/// For the head of a request, and for a connection that is idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After an error of accept, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A peer that vanished without a word is noticed after about this.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A peer that acknowledges nothing of what was sent for so long has vanished as well.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// For answers under way when the agent ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    /// To the owner.
    pub door: Door,
    /// Host names that calls may be made by.
    pub allow_host: Vec<String>,
    /// Let those in who come from outside.
    pub insecure: bool,
    /// Bounds how many bodies are read at a time.
    pub large_bodies: Semaphore,
    /// Bounds how many logs are read at a time.
    pub log_readers: Arc<Semaphore>,
    /// All connections, tunnels and readers of logs.
    pub tasks: TaskTracker,
    /// The agent ends.
    pub end: CancellationToken,
    connections: Arc<Semaphore>,
}

impl Server {
    /// A server that hands what it is asked to `door`.
    pub fn new(door: Door, allow_host: Vec<String>, insecure: bool) -> Self {
        Server {
            door,
            allow_host,
            insecure,
            large_bodies: Semaphore::new(LARGE_BODIES_MAX),
            log_readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Ends all of it: answers under way get a moment, everything else does not.
    pub async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        if timeout(2 * FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections did not end in time");
        }
    }
}

/// Accepts on these listeners from now on.
///
/// # Errors
/// A listener that the runtime does not take.
pub fn serve(server: &Arc<Server>, listeners: Vec<StdListener>) -> io::Result<()> {
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let of_all = Arc::clone(server);
        server.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = of_all.end.cancelled() => {}
                () = accept_all(&of_all, listener) => {}
            }
        });
    }
    Ok(())
}

async fn accept_all(server: &Arc<Server>, listener: TcpListener) {
    loop {
        let Ok(permit) = Arc::clone(&server.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                server.tasks.spawn(converse(Arc::clone(server), stream, permit));
            }
            Err(e) => {
                tracing::warn!("cannot accept a connection: {e}; trying again");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn converse(server: Arc<Server>, stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let cut = CancellationToken::new();
    let end = server.end.clone();
    let connection = Arc::new(Connection { server, peer, local, cut: cut.clone(), may_command: OnceLock::new() });
    let service = service_fn(move |request| Arc::clone(&connection).answer(request));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = std::pin::pin!(http);
    // Broken and malformed connections are their peers' affair.
    tokio::select! {
        biased;
        () = cut.cancelled() => {}
        _ = http.as_mut() => {}
        () = end.cancelled() => {
            http.as_mut().graceful_shutdown();
            let _ = timeout(FAREWELL, http).await;
        }
    }
}
