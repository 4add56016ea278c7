//! Ports that a program can be started on, and started on again. They lie below the range from which the system hands out
//! ports by itself, so that no replica gets one of them meanwhile.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const COUNT: u16 = 8_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Held by whoever uses the ports 8000, 9091 and 9092, or may.
pub fn those_of_the_description() -> MutexGuard<'static, ()> {
    static HELD: Mutex<()> = Mutex::new(());
    // A test that failed while it held them has given them back all the same.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free port that no other test of this run gets.
pub fn free() -> u16 {
    let first = first_ephemeral().saturating_sub(COUNT).max(1_100);
    // Two runs at once start at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = first + (offset.wrapping_add(nth)) % COUNT;
        if is_free(port) {
            return port;
        }
    }
    panic!("no port from {first} to {} is free", first + COUNT);
}

/// Nobody listens on it, on either loopback address.
pub fn is_free(port: u16) -> bool {
    // On a host without IPv6 the second cannot be bound, and is not needed.
    let is_taken = |address: &str| TcpListener::bind((address, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    !is_taken("127.0.0.1") && !is_taken("::1")
}

fn first_ephemeral() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}
