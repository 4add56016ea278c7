//! Listening sockets that are handed over to replicas, and kept while any has them and for a while after that.
//!
//! Who gets which is decided elsewhere (`cluster::socket`); a name that is not known is a new socket.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::guardian::protocol::HandedOver;

/// Longer than `cluster::socket::KEPT_MS`: a socket that was just chosen there is still here.
const KEPT: Duration = Duration::from_millis(cluster::socket::KEPT_MS + 2_000);
/// As long a queue as the system allows (`net.core.somaxconn`, 4,096 unless changed).
const BACKLOG: i32 = 4_096;

/// One of them, as it is written down for the next program of this process.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketLeft {
    name: ReplicaId,
    /// Its descriptor.
    pub socket: RawFd,
    had_by: BTreeSet<ReplicaId>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sockets {
    open: BTreeMap<ReplicaId, Open>,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    port: u16,
    had_by: BTreeSet<ReplicaId>,
    /// Since when nobody has it.
    free_since: Option<Instant>,
}

impl Sockets {
    /// The socket for an attempt of this replica, and its port: the one that it has, else that of this name. `runs` tells of which
    /// replicas something runs.
    pub fn of(&mut self, wanted: &HandedOver, id: ReplicaId, runs: impl Fn(ReplicaId) -> bool) -> io::Result<(BorrowedFd<'_>, u16)> {
        let name = self.open.iter().find(|(_, open)| open.had_by.contains(&id)).map_or(wanted.socket, |(name, _)| *name);
        let open = match self.open.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(Open::new()?),
        };
        open.had_by.insert(id);
        open.free_since = None;
        // All that have it share its mode. A process that runs has chosen one; whoever comes first finds it as systemd hands one over.
        if !open.had_by.iter().any(|other| runs(*other)) {
            open.socket.set_nonblocking(false)?;
        }
        Ok((open.socket.as_fd(), open.port))
    }

    /// What the next program of this process needs to know.
    pub fn leave(&self) -> Vec<SocketLeft> {
        let left =
            |(name, open): (&ReplicaId, &Open)| SocketLeft { name: *name, socket: open.socket.as_raw_fd(), had_by: open.had_by.clone() };
        self.open.iter().map(left).collect()
    }

    /// As they were for the program before this one, with their descriptors.
    pub fn resume(left: impl Iterator<Item = (SocketLeft, OwnedFd)>) -> io::Result<Self> {
        let mut open = BTreeMap::new();
        for (SocketLeft { name, had_by, .. }, socket) in left {
            let free_since = had_by.is_empty().then(Instant::now);
            open.insert(name, Open { had_by, free_since, ..Open::of(Socket::from(socket))? });
        }
        Ok(Sockets { open })
    }

    /// No other attempt of this replica follows.
    pub fn release(&mut self, id: ReplicaId) {
        for open in self.open.values_mut() {
            if open.had_by.remove(&id) && open.had_by.is_empty() {
                open.free_since = Some(Instant::now());
            }
        }
    }

    /// Closes those that nobody has taken over.
    pub fn close_old(&mut self) {
        self.open.retain(|_, open| open.free_since.is_none_or(|since| since.elapsed() < KEPT));
    }

    /// How long until [`Sockets::close_old`] has something to do.
    pub fn wait(&self) -> Option<Duration> {
        let since = self.open.values().filter_map(|open| open.free_since).min()?;
        // A little more, so that it is not looked for too soon.
        Some(KEPT.saturating_sub(since.elapsed()) + Duration::from_millis(1))
    }
}

impl Open {
    fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(BACKLOG)?;
        Open::of(socket)
    }

    fn of(socket: Socket) -> io::Result<Self> {
        let port = socket.local_addr()?.as_socket_ipv4().map_or(0, |addr| addr.port());
        Ok(Open { socket, port, had_by: BTreeSet::new(), free_since: None })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpStream;

    use super::*;

    fn named(id: u128) -> HandedOver {
        HandedOver { socket: ReplicaId(id), name: "web".to_owned() }
    }

    #[test]
    fn a_socket_stays_with_whoever_has_it_and_goes_over_by_its_name() {
        let mut sockets = Sockets::default();
        let port = sockets.of(&named(1), ReplicaId(1), |_| false).unwrap().1;
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // The next attempt, whatever its agent has forgotten meanwhile.
        assert_eq!(sockets.of(&named(9), ReplicaId(1), |_| false).unwrap().1, port);
        assert_ne!(sockets.of(&named(2), ReplicaId(2), |_| false).unwrap().1, port);
        assert_eq!(sockets.of(&named(1), ReplicaId(3), |_| true).unwrap().1, port);
        sockets.release(ReplicaId(1));
        sockets.close_old();
        assert!(sockets.wait().is_none());
        sockets.release(ReplicaId(3));
        assert!(sockets.wait().unwrap() > Duration::from_millis(cluster::socket::KEPT_MS));
        sockets.close_old();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(sockets.of(&named(1), ReplicaId(4), |_| false).unwrap().1, port);
    }

    #[test]
    fn only_the_first_to_run_finds_the_mode_as_it_was_made() {
        let mut sockets = Sockets::default();
        sockets.of(&named(1), ReplicaId(1), |_| false).unwrap();
        sockets.open[&ReplicaId(1)].socket.set_nonblocking(true).unwrap();
        sockets.of(&named(1), ReplicaId(2), |id| id == ReplicaId(1)).unwrap();
        assert!(sockets.open[&ReplicaId(1)].socket.nonblocking().unwrap());
        sockets.of(&named(1), ReplicaId(2), |_| false).unwrap();
        assert!(!sockets.open[&ReplicaId(1)].socket.nonblocking().unwrap());
    }
}
