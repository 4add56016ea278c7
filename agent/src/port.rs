//! The port of one attempt of a replica, kept for it.
//!
//! A port that is found by binding and closing is handed out again at once: many starts at a time then share ports. So the socket stays
//! bound, not listening, while the attempt lives: the system gives it to nobody else, and a program that sets `SO_REUSEADDR`, as nearly
//! all servers do, can bind beside it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// A port of the loopback address that nobody else gets while this lives.
#[derive(Debug)]
pub struct Reservation {
    _socket: Socket,
    port: u16,
}

impl Reservation {
    /// Reserves a free port.
    pub fn new() -> io::Result<Self> {
        Reservation::at(0)
    }

    fn at(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // On Windows this option means something else.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let port = socket.local_addr()?.as_socket_ipv4().map_or(0, |addr| addr.port());
        Ok(Reservation { _socket: socket, port })
    }

    /// Reserves this port again, for a program that was given it by an agent that is gone.
    pub fn again(port: u16) -> io::Result<Self> {
        Reservation::at(port)
    }

    /// Which port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn no_two_reservations_share_a_port_and_a_server_can_bind_beside_each() {
        let held: Vec<Reservation> = (0..300).map(|_| Reservation::new().unwrap()).collect();
        let ports: BTreeSet<u16> = held.iter().map(Reservation::port).collect();
        assert_eq!(ports.len(), held.len());
        for port in ports {
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            drop(server);
        }
    }

    #[test]
    fn a_port_is_reserved_again_unless_somebody_listens_there_who_keeps_it_anyway() {
        let port = Reservation::new().unwrap().port();
        let again = Reservation::again(port).unwrap();
        assert_eq!(again.port(), port);
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        drop(again);
        let beside = Reservation::again(port);
        assert!(beside.is_ok_and(|beside| beside.port() == port) || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        drop(server);
    }
}
