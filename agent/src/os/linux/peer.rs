//! Who is at the other end of a loopback connection.
//!
//! The system's table of TCP sockets names the owner of each. A socket that its process has closed already is listed with owner 0 and
//! inode 0: so a caller that sends and closes at once would pass for root, unless the inode is looked at too.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::getuid;

pub(crate) fn peer_may_command(peer: SocketAddr, local: SocketAddr) -> bool {
    let me = getuid().as_raw();
    owner_of(peer, local).is_some_and(|uid| uid == 0 || uid == me)
}

/// The owner of the socket whose own end is `peer` and whose other end is `local`.
fn owner_of(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let reader = BufReader::new(File::open(table).ok()?);
        reader.lines().map_while(Result::ok).skip(1).find_map(|line| owner_in(&line, peer, local))
    })
}

fn owner_in(line: &str, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (own, other) = (fields.next()?, fields.next()?);
    if !is(own, peer) || !is(other, local) {
        return None;
    }
    // st, tx_queue:rx_queue, tr:tm->when, retrnsmt, uid, timeout, inode
    let uid = fields.nth(4)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    (inode != 0).then_some(uid)
}

/// Whether a cell of the table is this address. An IPv4 address may stand there as one that is mapped into IPv6.
fn is(cell: &str, addr: SocketAddr) -> bool {
    parse(cell).is_some_and(|(ip, port)| port == addr.port() && ip.to_canonical() == addr.ip().to_canonical())
}

/// `0100007F:1F90`: the address as words of 32 bits in the machine's order, in hex, then the port.
fn parse(cell: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = cell.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found_on_both_loopbacks() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(listen) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(owner_of(peer, server.local_addr().unwrap()), Some(getuid().as_raw()), "{listen}");
            assert!(peer_may_command(peer, server.local_addr().unwrap()));
            drop(client);
            // Closed by its owner: nobody's any more, above all not root's.
            assert_eq!(owner_of(peer, server.local_addr().unwrap()), None, "{listen}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_same_address() {
        let peer: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert!(is("0100007F:1F90", peer) || cfg!(target_endian = "big"));
        assert!(is("0000000000000000FFFF00000100007F:1F90", peer) || cfg!(target_endian = "big"));
        assert!(!is("0100007F:1F91", peer) && !is("0200007F:1F90", peer) && !is("x:y", peer) && !is("", peer));
    }
}
