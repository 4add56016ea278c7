//! Ready is, where no check of the app says otherwise: the replica's port accepts a connection; or, where its socket is handed over to it, its
//! process has lived for a moment.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The first wait between two tries; each one after it is half as long again.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// A program that cannot run with what it was given mostly ends sooner than this. Who connects meanwhile waits in the socket's queue.
const SETTLED_AFTER: Duration = Duration::from_millis(100);
/// For one try. Loopback answers at once; only a full queue of the listener makes it wait.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// Returns once `port` accepts connections. It has no deadline of its own: it is ended with its attempt.
pub async fn until_ready(port: u16) {
    let mut wait = WAIT_MIN;
    while !accepts(port).await {
        sleep(wait).await;
        wait = (wait * 3 / 2).min(WAIT_MAX);
    }
}

/// Returns once a process that its socket was handed to has lived for a moment.
pub async fn until_settled() {
    sleep(SETTLED_AFTER).await;
}

async fn accepts(port: u16) -> bool {
    matches!(timeout(CONNECT_DEADLINE, connect(port)).await, Ok(Ok(_)))
}

/// A connection to a replica's port.
pub async fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    // With nobody listening, the system may pick that very port for our end, and TCP then connects the socket to itself.
    if stream.local_addr()?.port() == port { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(stream) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;
    use crate::port::Reservation;

    #[tokio::test]
    async fn a_reserved_port_is_not_ready_until_somebody_listens() {
        let reserved = Reservation::new().unwrap();
        assert!(!accepts(reserved.port()).await);
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, reserved.port())).await.unwrap();
        timeout(Duration::from_secs(5), until_ready(reserved.port())).await.unwrap();
        drop(server);
    }
}
