//! The data plane: HTTP in, a replica picked, HTTP on.
//!
//! One thread per core ([`Gateway`]), each with its own listeners, its own upstream connections and its own copy of the routing table:
//! no request crosses threads, and none waits for a lock. A request that a replica did not get is sent to another one.
//!
//! Every HTTP/1 message is read by a strict reader of this crate: what is not exactly one well-formed message is refused, so nobody
//! behind the gateway can take it for another one. Its head is written anew, its body passes through in bounded memory.
//!
//! A stream of HTTP/2 becomes such a message on its way in, and is made of one on its way to a worker that speaks HTTP/2: all rules are
//! those of the one path.
//!
//! Absent from here: what should run and what does run (a [`cluster::route::RoutingTable`] says where to send requests, and nobody is
//! asked anything while one is served), the API (which is reached through a [`LocalDoor`]), TLS.

#![forbid(unsafe_code)]

pub mod access_log;
mod ack;
mod answer;
mod body;
mod buffer;
mod chunks;
mod client;
mod clock;
mod complaints;
mod config;
mod connect;
mod core;
mod door;
mod downstream;
mod exchange;
mod fields;
mod figures;
mod forward;
mod framing;
mod gateway;
mod h2_body;
mod h2_call;
mod h2_fields;
mod h2_in;
mod h2_out;
mod h2_proof;
mod h2_stream;
mod h2_watch;
mod head;
mod hold;
mod inbox;
pub mod inherited;
mod keeping;
mod last_hop;
mod ledger;
mod link;
pub mod listen;
mod meters;
pub mod network;
mod origin;
mod outbound;
mod peers;
mod pipe;
mod prefix;
mod problem;
mod record;
mod registry;
mod relay;
mod replica;
mod request;
mod request_id;
mod sticky;
mod stream;
mod table;
mod target;
mod thread;

pub use config::{Config, FIELDS_MAX, Limits};
pub use door::{Door, Face, LocalConnection, LocalDoor, is_reserved};
pub use figures::{AppFigures, Figures, Observer, Times};
pub use gateway::{Error, Gateway};
pub use network::Network;
