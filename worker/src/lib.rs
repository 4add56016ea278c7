//! The demo payload: a small HTTP server that says who it is.
//!
//! It stands in for a business application: it takes `HOST` and `PORT` like any program that Ostler runs, and knows nothing
//! of Ostler beyond the id that it is given. It is also the program of the spawn benchmark, so it is one thread, and does
//! nothing at its start but bind. No logging, no TLS, no state.
#![forbid(unsafe_code)]

mod answer;
mod filler;
mod query;
mod serve;
mod stop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use serve::run;

/// The variable that holds the id of a replica.
pub const ID_VARIABLE: &str = "OSTLER_REPLICA_ID";

/// How a worker is started.
#[derive(Debug)]
pub struct Config {
    /// The address to listen on: loopback, so that nobody outside the host reaches it.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Who it says it is.
    pub id: String,
    /// A socket that listens already, which is then served instead.
    pub listener: Option<std::net::TcpListener>,
}

impl Default for Config {
    fn default() -> Self {
        Config { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0, id: random_id(), listener: None }
    }
}

/// A new random id (UUID v4), for a worker that was started by hand.
#[must_use]
pub fn random_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Why a worker did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --host and --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system does not let it wait for signals.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    /// Requests were still unanswered when the time for them ran out, or a second signal came.
    #[error("stopped with {0} connections still open")]
    CutShort(usize),
}
