//! Who may come in, and who is believed: trusted proxies, and how many connections one address may have at once.
//!
//! Shared by all threads. Absent from here: what a trusted proxy is believed ([`crate::origin`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::network::Network;

/// How often the log tells of addresses that have too many connections.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What is known of the addresses of clients.
#[derive(Debug)]
pub(crate) struct Peers {
    trusted: Vec<Network>,
    connections_max: Option<usize>,
    /// Locked only where there is a limit, when a connection begins and when it ends.
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// The connections of each address that has any.
    connections: BTreeMap<IpAddr, usize>,
    /// How many were refused since the log told of it.
    refused: u64,
    told_at: Option<Instant>,
}

impl Peers {
    pub(crate) fn new(trusted: Vec<Network>, connections_max: Option<usize>) -> Arc<Self> {
        Arc::new(Peers { trusted, connections_max, counted: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // A panic elsewhere leaves a count that is at worst one too high.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this peer says of where a request came from is believed.
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// A place for one more connection of `peer`; `None`: it has as many as it may. Loopback and trusted proxies bring the requests of many,
    /// so those are not counted.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let Some(max) = self.connections_max else { return Some(Place { counted: None }) };
        let peer = peer.to_canonical();
        if peer.is_loopback() || self.is_trusted(peer) {
            return Some(Place { counted: None });
        }
        let address = counted_as(peer);
        let mut counted = self.lock();
        let connections = counted.connections.entry(address).or_default();
        if *connections < max {
            *connections += 1;
            return Some(Place { counted: Some((Arc::clone(self), address)) });
        }
        counted.refused += 1;
        let now = Instant::now();
        if counted.told_at.is_none_or(|told_at| now.saturating_duration_since(told_at) >= TOLD_EVERY) {
            counted.told_at = Some(now);
            let refused = std::mem::take(&mut counted.refused);
            tracing::warn!(%address, max, refused, "connections were refused: an address has as many as it may");
        }
        None
    }
}

/// The address that a peer is counted as: one host of IPv6 has the 2^64 addresses of its network (RFC 4291 section 2.5.1).
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The right to one connection; dropped, the address may have another.
#[derive(Debug)]
pub(crate) struct Place {
    counted: Option<(Arc<Peers>, IpAddr)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((peers, address)) = self.counted.take() else { return };
        let mut counted = peers.lock();
        if let Some(connections) = counted.connections.get_mut(&address) {
            *connections -= 1;
            if *connections == 0 {
                counted.connections.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_has_as_many_connections_as_it_may() {
        let peers = Peers::new(vec!["10.0.0.0/8".parse().unwrap()], Some(2));
        let admit = |peer: &str| peers.admit(peer.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        // A host of IPv6 is its network.
        let _six: Vec<Place> = ["2001:db8::1", "2001:db8::2"].map(|peer| admit(peer).unwrap()).into();
        assert!(admit("2001:db8::3").is_none());
        assert!(admit("2001:db8:0:1::3").is_some());
        // Loopback and trusted proxies are not counted.
        let free: Vec<Place> = ["127.0.0.1", "::1", "10.1.1.1"].iter().cycle().take(30).map(|peer| admit(peer).unwrap()).collect();
        assert_eq!(peers.lock().connections.len(), 3);
        drop((free, _second, _other, _third, _six));
        assert!(peers.lock().connections.is_empty());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let peers = Peers::new(Vec::new(), None);
        let places: Vec<Place> = (0..100).filter_map(|_| peers.admit("192.0.2.1".parse().unwrap())).collect();
        assert_eq!((places.len(), peers.lock().connections.len()), (100, 0));
    }
}
