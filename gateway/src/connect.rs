//! Opening a connection to a replica: over loopback, or through the tunnel of its host's agent.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cluster::id::ReplicaId;
use cluster::route::Target;
use cluster::traffic::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::Core;
use crate::h2_out;
use crate::link::Lease;
use crate::replica::Replica;
use crate::stream::Stream;

/// The most bytes of an agent's answer to the call for a tunnel.
const TUNNEL_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be opened.
    #[error("cannot connect to {target}: {source}")]
    Connect { target: String, source: io::Error },
    /// It was not opened in time.
    #[error("cannot connect to {target}: no answer within {within_ms} ms")]
    TimedOut { target: String, within_ms: u64 },
    /// The agent does not open a tunnel.
    #[error("the agent at {agent} opens no tunnel to replica {replica}: {reason}")]
    NoTunnel { agent: String, replica: ReplicaId, reason: String },
    /// It does not begin to speak HTTP/2.
    #[error("replica {replica} takes no connection of HTTP/2: {reason}")]
    NoHttp2 { replica: ReplicaId, reason: String },
    /// Another request has just tried.
    #[error("replica {replica} could not be reached just now")]
    JustFailed { replica: ReplicaId },
}

impl Error {
    /// It is not for the replica: this process or this host has no means left to open a connection to anybody.
    pub(crate) fn is_ours(&self) -> bool {
        let Error::Connect { source, .. } = self else { return false };
        // EADDRNOTAVAIL: all ports of the ephemeral range are taken.
        source.kind() == io::ErrorKind::AddrNotAvailable || is_out_of_means(source)
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
#[cfg(unix)]
fn is_out_of_means(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let means = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| means.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(not(unix))]
fn is_out_of_means(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}

/// Opens a new connection to a replica, or a stream on one that is shared.
pub(crate) async fn open(core: &Rc<Core>, replica: &Replica) -> Result<Lease, Error> {
    match replica.protocol {
        Protocol::Http1 => Ok(Lease::open(core, reach(replica).await?, Some(replica))),
        Protocol::H2c => h2_out::open(core, replica).await,
    }
}

/// The bytes to and from a replica.
pub(crate) async fn reach(replica: &Replica) -> Result<Stream, Error> {
    let within_ms = replica.connect_ms();
    Ok(match &replica.target {
        Target::Loopback(port) => {
            let target = format!("127.0.0.1:{port}");
            Stream::Direct(connect(within_ms, &target, TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, *port))).await?)
        }
        Target::Tunnel(agent) => {
            let mut tcp = connect(within_ms, agent, TcpStream::connect(agent.as_str())).await?;
            let within = Duration::from_millis(within_ms);
            let no_tunnel = |reason| Error::NoTunnel { agent: agent.clone(), replica: replica.key.replica, reason };
            match timeout(within, call_for_tunnel(&mut tcp, agent, replica.key.replica)).await {
                Ok(Ok(first)) => Stream::Tunnel { first, tcp },
                Ok(Err(reason)) => return Err(no_tunnel(reason)),
                Err(_) => return Err(no_tunnel(format!("no answer within {within_ms} ms"))),
            }
        }
    })
}

async fn connect(within_ms: u64, target: &str, connecting: impl Future<Output = io::Result<TcpStream>>) -> Result<TcpStream, Error> {
    let failed = |source| Error::Connect { target: target.to_owned(), source };
    let tcp = timeout(Duration::from_millis(within_ms), connecting)
        .await
        .map_err(|_| Error::TimedOut { target: target.to_owned(), within_ms })?
        .map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    // Connecting to a port of the ephemeral range on which nobody listens can reach oneself (TCP simultaneous open).
    if matches!((tcp.local_addr(), tcp.peer_addr()), (Ok(local), Ok(peer)) if local == peer) {
        return Err(failed(io::Error::from(io::ErrorKind::ConnectionRefused)));
    }
    Ok(tcp)
}

/// Asks an agent for a tunnel. Returns what came behind its 101: the first bytes of the replica.
async fn call_for_tunnel(tcp: &mut TcpStream, agent: &str, replica: ReplicaId) -> Result<Bytes, String> {
    let call =
        format!("GET /v1/replicas/{replica}/tunnel HTTP/1.1\r\nHost: {agent}\r\nConnection: Upgrade\r\nUpgrade: ostler-tunnel\r\n\r\n");
    tcp.write_all(call.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut head = BytesMut::with_capacity(1_024);
    let end = loop {
        if let Some(at) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if head.len() >= TUNNEL_HEAD_BYTES_MAX {
            return Err(format!("the head of its answer is longer than {TUNNEL_HEAD_BYTES_MAX} bytes"));
        }
        match tcp.read_buf(&mut head).await {
            Ok(0) => return Err("it ended the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    };
    let first = head.split_off(end).freeze();
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(first);
    }
    let line = head[..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("it answered \"{}\"", String::from_utf8_lossy(&line[..line.len().min(100)])))
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_this_host_lacks_is_not_held_against_a_replica() {
        let failed = |errno: Errno| Error::Connect { target: "a".to_owned(), source: io::Error::from_raw_os_error(errno.raw_os_error()) };
        for ours in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL] {
            assert!(failed(ours).is_ours(), "{ours}");
        }
        for theirs in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH] {
            assert!(!failed(theirs).is_ours(), "{theirs}");
        }
        assert!(!Error::TimedOut { target: "a".to_owned(), within_ms: 1 }.is_ours());
    }
}
