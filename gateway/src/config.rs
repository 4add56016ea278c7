//! The gateway's numbers. Defaults: contracts, "Defaults".

use cluster::route::Deadlines;

use crate::access_log;
use crate::network::Network;

/// The most fields of any head, whatever the configured limit.
pub const FIELDS_MAX: usize = 256;
/// How often a request that was sent and got no answer may be sent again, unless its app says otherwise.
const RETRIES_MAX: u32 = 2;

/// How a gateway is built.
#[derive(Debug)]
pub struct Config {
    /// Threads; each accepts, balances and forwards by itself.
    pub threads: usize,
    /// Deadlines and bounds.
    pub limits: Limits,
    /// Where each request is written down, if anywhere.
    pub access_log: Option<access_log::Writer>,
    /// Proxies in front of the gateway: what they say of where a request came from is believed. Loopback is none unless it is here.
    pub trusted_proxies: Vec<Network>,
}

impl Default for Config {
    /// One thread per processor.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Config { threads, limits: Limits::default(), access_log: None, trusted_proxies: Vec::new() }
    }
}

/// Deadlines and bounds of the data plane. Deadlines are kept to within a few hundred milliseconds and never fire early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a request waits for a ready replica, in milliseconds.
    pub hold_ms: u64,
    /// How many requests may wait for one at once, over all threads.
    pub hold_max: usize,
    /// How long opening a connection to a replica may take, in milliseconds; an agent's answer to the call for a tunnel may take
    /// as long again.
    pub connect_ms: u64,
    /// How long a replica may take from the last byte of a request to the first of its answer, in milliseconds.
    pub first_byte_ms: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    pub head_ms: u64,
    /// The most bytes of a head.
    pub head_bytes_max: usize,
    /// The most fields of a head; no more than [`FIELDS_MAX`] are taken, whatever this says.
    pub head_fields_max: usize,
    /// The most bytes of a request's target; longer ones are 414 (RFC 9112 section 3 asks for 8,000 bytes of line at least).
    pub target_bytes_max: usize,
    /// The most connections that one address may have at once, over all threads; `None`: any number. Loopback and trusted proxies may
    /// have any number. The 2^64 addresses of a network of IPv6 are one.
    pub connections_per_address_max: Option<usize>,
    /// How long a body may stand still, in either direction, in milliseconds.
    pub body_idle_ms: u64,
    /// How long a client's connection may rest between requests, in milliseconds.
    pub client_idle_ms: u64,
    /// How long a client that has ended its side may wait for more of its answer, in milliseconds: it may have left.
    pub half_closed_ms: u64,
    /// How long a connection that became a tunnel (101) may be silent, in milliseconds.
    pub tunnel_idle_ms: u64,
    /// How many streams a client may have open at once on a connection of HTTP/2.
    pub h2_streams_max: u32,
    /// How many streams of a connection of HTTP/2 may end by a reset, by the client or for its faults, before as many were answered: a
    /// client that opens streams to reset them is sent away (CVE-2023-44487, CVE-2025-8671).
    pub h2_resets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hold_ms: 5_000,
            hold_max: 1_000,
            connect_ms: 1_000,
            first_byte_ms: 60_000,
            head_ms: 10_000,
            head_bytes_max: 64 * 1024,
            head_fields_max: FIELDS_MAX,
            target_bytes_max: 16 * 1024,
            connections_per_address_max: None,
            body_idle_ms: 30_000,
            client_idle_ms: 75_000,
            half_closed_ms: 5_000,
            tunnel_idle_ms: 3_600_000,
            h2_streams_max: 128,
            h2_resets_max: 100,
        }
    }
}

/// What holds for the requests of one app: its own deadlines where it has some, else those of all. Durations in milliseconds, as in [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppLimits {
    pub(crate) connect_ms: u64,
    pub(crate) first_byte_ms: u64,
    pub(crate) body_idle_ms: u64,
    pub(crate) hold_ms: u64,
    /// How often a request that was sent and got no answer may be sent again.
    pub(crate) retries_max: u32,
}

impl AppLimits {
    /// Those of an app that says this.
    pub(crate) fn new(general: &Limits, own: &Deadlines) -> Self {
        AppLimits {
            connect_ms: own.connect_ms.unwrap_or(general.connect_ms),
            first_byte_ms: own.first_byte_ms.unwrap_or(general.first_byte_ms),
            body_idle_ms: own.body_idle_ms.unwrap_or(general.body_idle_ms),
            hold_ms: own.hold_ms.unwrap_or(general.hold_ms),
            retries_max: own.retries.unwrap_or(RETRIES_MAX),
        }
    }
}
