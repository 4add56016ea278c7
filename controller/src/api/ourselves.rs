//! Which addresses are this controller's own: none of them is an agent's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use cluster::NodeUrl;

/// How long the resolver may take; a name that it does not find is not ours.
const RESOLVE: Duration = Duration::from_secs(1);

/// The addresses on which this controller listens.
#[derive(Clone, Debug)]
pub struct Ourselves {
    listeners: Vec<SocketAddr>,
}

impl Ourselves {
    /// By the addresses of its listeners.
    #[must_use]
    pub fn new(listeners: Vec<SocketAddr>) -> Self {
        Ourselves { listeners }
    }

    /// Whether a URL leads to one of the listeners, however it is spelled.
    pub async fn are_at(&self, url: &NodeUrl) -> bool {
        let (host, port) = (url.host(), url.port());
        if !self.listeners.iter().any(|listener| listener.port() == port) {
            return false;
        }
        if url.is_loopback() && self.listeners.iter().any(|own| own.port() == port && (own.ip().is_loopback() || own.ip().is_unspecified()))
        {
            return true;
        }
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, port))).await {
                Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                _ => vec![],
            },
        };
        addresses.into_iter().any(|ip| self.listeners.iter().any(|own| own.port() == port && reaches(ip, own.ip())))
    }
}

/// Whether a connection to `ip` may reach a listener bound to `own`.
fn reaches(ip: IpAddr, own: IpAddr) -> bool {
    let ip = match ip.to_canonical() {
        // Linux takes the unspecified address for loopback.
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    ip == own.to_canonical() || (own.is_loopback() && ip.is_loopback()) || (own.is_unspecified() && is_of_this_host(ip))
}

/// Only an address of this host can be bound.
fn is_of_this_host(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn our_own_address_is_known_in_every_spelling() {
        let loopback = Ourselves::new(vec!["127.0.0.1:8000".parse().unwrap(), "[::1]:8000".parse().unwrap()]);
        let anywhere = Ourselves::new(vec!["0.0.0.0:8000".parse().unwrap()]);
        for url in [
            "http://localhost:8000",
            "http://LOCALHOST:8000/",
            "http://127.0.0.1:8000",
            "http://127.9.9.9:8000",
            "http://[::1]:8000",
            "http://[::ffff:127.0.0.1]:8000",
            "http://0.0.0.0:8000",
            "http://[::]:8000",
        ] {
            let url: NodeUrl = url.parse().unwrap();
            assert!(loopback.are_at(&url).await, "{url}");
            assert!(anywhere.are_at(&url).await, "{url}");
        }
        for url in ["http://localhost:8001", "http://192.0.2.1:8000", "http://no-such-host.invalid:8000"] {
            let url: NodeUrl = url.parse().unwrap();
            assert!(!loopback.are_at(&url).await && !anywhere.are_at(&url).await, "{url}");
        }
    }
}
