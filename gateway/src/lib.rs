//! The data plane: HTTP in, a replica picked, HTTP on.
//!
//! It knows a routing table and nothing else, and asks nobody anything while it serves a request. Absent from here: what
//! should run, what does run, the API (which is reached through a [`LocalDoor`]), TLS.

mod config;
mod door;
pub mod listen;

pub use config::{Config, Limits};
pub use door::{Face, LocalConnection, LocalDoor, is_reserved};
