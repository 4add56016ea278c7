//! Ports: the wished one where it is free.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// `wished`, or 0 for any free port where somebody listens there already. Who asks must still be ready to lose a race.
pub fn choose(wished: u16) -> u16 {
    if is_free(wished) { wished } else { 0 }
}

fn is_free(port: u16) -> bool {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
        return false;
    }
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Ok(_) => true,
        // No IPv6 here: nobody can be in the way.
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    }
}

/// The port in a role's log line `listening on 127.0.0.1:9091`.
pub fn announced(log: &str) -> Option<u16> {
    log.lines().find_map(|line| {
        let (_, after) = line.split_once("listening on 127.0.0.1:")?;
        let digits: &str = after.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_chosen() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(choose(port), 0);
        drop(taken);
        assert_eq!(choose(port), port);
    }

    #[test]
    fn the_port_is_read_from_the_log() {
        let log = "2026-11-23T10:00:00Z  INFO starting\n2026-11-23T10:00:00Z  INFO listening on 127.0.0.1:43121 pid=4\n";
        assert_eq!(announced(log), Some(43121));
        assert_eq!(announced("listening on 127.0.0.1:9091"), Some(9091));
        for none in ["", "listening on [::1]:9091", "listening on 127.0.0.1:", "listening on 127.0.0.1:99999"] {
            assert_eq!(announced(none), None, "{none}");
        }
    }
}
