//! Listening: which addresses, and how several threads share one port.
//!
//! The first listener of an address binds alone and only then lets others join (`SO_REUSEPORT`): so a second program on the same
//! port fails with the port in its message, instead of taking half of the connections. Absent from here: accepting.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for us until we accept them; it caps this itself (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Where a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On `127.0.0.1` and, where it exists, on `::1`.
    Loopback {
        /// The port; 0 takes a free one, the same for both addresses where that is possible.
        port: u16,
    },
    /// On exactly this address.
    Exactly(SocketAddr),
}

/// Why a program does not listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has the port.
    #[error("cannot listen on {addr}: port {} is in use by another program; stop it or choose another port", addr.port())]
    InUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The port is for privileged programs.
    #[error("cannot listen on {addr}: this user may not open port {}; choose a port above 1023", addr.port())]
    Denied {
        /// The address.
        addr: SocketAddr,
    },
    /// The address is not of this host.
    #[error("cannot listen on {addr}: this host has no address {}", addr.ip())]
    NoSuchAddress {
        /// The address.
        addr: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {addr}: {source}")]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Not on loopback, and nothing protects it.
    #[error(
        "refusing to listen on {addr}: it is not a loopback address, and whoever reaches it could command this program, \
         in the clear; listen on 127.0.0.1, or start with --insecure if the network is trusted"
    )]
    Insecure {
        /// The address.
        addr: SocketAddr,
    },
}

impl Error {
    fn of(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse { addr },
            io::ErrorKind::PermissionDenied => Error::Denied { addr },
            io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress { addr },
            _ => Error::Io { addr, source },
        }
    }
}

impl Listen {
    /// Refuses an address that is not loopback unless `insecure`; with it, a warning is logged.
    ///
    /// # Errors
    /// [`Error::Insecure`], whose message says which flag overrides it.
    pub fn check(&self, insecure: bool) -> Result<(), Error> {
        match *self {
            Listen::Exactly(addr) if !addr.ip().is_loopback() => {
                if !insecure {
                    return Err(Error::Insecure { addr });
                }
                tracing::warn!("--insecure: {addr} is not a loopback address; whoever reaches it can command this program, in the clear");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether this is one of its addresses. A port that the system is to choose is none.
    #[must_use]
    pub fn is_at(&self, addr: SocketAddr) -> bool {
        match *self {
            Listen::Loopback { port } => {
                port == addr.port() && [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&addr.ip())
            }
            Listen::Exactly(own) => own == addr,
        }
    }

    /// Opens each address with one listener per sibling, and logs a line with the real port for each.
    ///
    /// # Errors
    /// An [`Error`] with the address and the port in its one line.
    pub fn open(&self, siblings: usize) -> Result<Vec<Vec<TcpListener>>, Error> {
        match *self {
            Listen::Loopback { port } => loopback(port, siblings),
            Listen::Exactly(addr) => Ok(vec![bind(addr, siblings)?]),
        }
    }
}

/// Opens `127.0.0.1` and, where it exists, `::1`: one group of `siblings` listeners for each address.
///
/// # Errors
/// An [`Error`] with the address and the port in its one line.
pub fn loopback(port: u16, siblings: usize) -> Result<Vec<Vec<TcpListener>>, Error> {
    let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), siblings)?;
    let real_port = port_of(&v4).unwrap_or(port);
    let v6_addr = SocketAddr::from((Ipv6Addr::LOCALHOST, real_port));
    match bind(v6_addr, siblings) {
        Ok(v6) => Ok(vec![v4, v6]),
        // A port that nobody asked for by number may be taken on the other address: then 127.0.0.1 is enough.
        Err(Error::InUse { .. }) if port == 0 => Ok(vec![v4]),
        Err(error @ (Error::InUse { .. } | Error::Denied { .. })) => Err(error),
        // No IPv6 on this host.
        Err(_) => Ok(vec![v4]),
    }
}

/// Opens one address with `siblings` listeners (at least one) that share its connections. All are non-blocking.
///
/// # Errors
/// An [`Error`] with the address and the port in its one line.
pub fn bind(addr: SocketAddr, siblings: usize) -> Result<Vec<TcpListener>, Error> {
    let group = open_group(addr, siblings.max(1)).map_err(|source| Error::of(addr, source))?;
    let real = SocketAddr::new(addr.ip(), port_of(&group).unwrap_or(addr.port()));
    tracing::info!("listening on {real}");
    Ok(group)
}

fn port_of(group: &[TcpListener]) -> Option<u16> {
    group.first().and_then(|listener| listener.local_addr().ok()).map(|addr| addr.port())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if matches!(addr.ip(), IpAddr::V6(_)) {
        socket.set_only_v6(true)?;
    }
    // Restarting on a port whose old connections still linger must work. On Windows this option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn open_group(addr: SocketAddr, siblings: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(addr)?;
    first.bind(&addr.into())?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let first: TcpListener = first.into();
    let real = first.local_addr()?;
    let mut group = vec![first];
    while group.len() < siblings {
        let sibling = socket(addr)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&real.into())?;
        sibling.listen(BACKLOG)?;
        group.push(sibling.into());
    }
    Ok(group)
}

/// Elsewhere `SO_REUSEPORT` does not spread connections: all siblings accept from one queue.
#[cfg(not(target_os = "linux"))]
fn open_group(addr: SocketAddr, siblings: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(addr)?;
    first.bind(&addr.into())?;
    first.listen(BACKLOG)?;
    let first: TcpListener = first.into();
    let mut group = Vec::with_capacity(siblings);
    for _ in 1..siblings {
        group.push(first.try_clone()?);
    }
    group.push(first);
    Ok(group)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn a_second_bind_of_a_port_fails_and_names_the_port() {
        let group = bind(local(0), 2).unwrap();
        let port = port_of(&group).unwrap();
        for siblings in [1, 2] {
            let message = bind(local(port), siblings).unwrap_err().to_string();
            assert!(message.contains(&format!("port {port} is in use")), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn siblings_share_the_connections_of_one_port() {
        let group = bind(local(0), 2).unwrap();
        let addr = group[0].local_addr().unwrap();
        let mut accepted_by = BTreeSet::new();
        let mut clients = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while accepted_by.len() < 2 && Instant::now() < deadline {
            clients.push(TcpStream::connect(addr).unwrap());
            for (at, listener) in group.iter().enumerate() {
                if listener.accept().is_ok() {
                    accepted_by.insert(at);
                }
            }
        }
        assert_eq!(accepted_by, BTreeSet::from([0, 1]));
    }

    #[test]
    fn the_loopback_pair_has_one_port() {
        let groups = loopback(0, 1).unwrap();
        let ports: BTreeSet<u16> = groups.iter().filter_map(|group| port_of(group)).collect();
        assert_eq!(ports.len(), 1);
        assert!(loopback(*ports.first().unwrap(), 1).is_err());
    }

    #[test]
    fn what_is_not_loopback_needs_the_flag() {
        let open = Listen::Exactly("0.0.0.0:9091".parse().unwrap());
        let message = open.check(false).unwrap_err().to_string();
        assert!(message.contains("--insecure") && message.contains("0.0.0.0:9091"), "{message}");
        assert!(open.check(true).is_ok());
        assert!(Listen::Exactly("127.0.0.2:1".parse().unwrap()).check(false).is_ok());
        assert!(Listen::Loopback { port: 1 }.check(false).is_ok());
    }
}
