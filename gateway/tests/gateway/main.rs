//! The gateway from outside: raw sockets in front of it, scripted replicas on raw sockets behind it.
#![allow(clippy::unwrap_used)]

mod access_log;
mod answers;
mod balance;
mod chunked;
mod client;
mod early;
mod ejection;
mod expect;
mod fields;
mod figures;
mod framing;
mod fuzz;
mod heads;
mod hold;
mod http10;
mod limits;
mod local;
mod max_forwards;
mod message;
mod order;
mod origin;
mod persistence;
mod replay;
mod rig;
mod shutdown;
mod stale;
mod sticky;
mod stream;
mod tunnel;
mod upgrade;
mod upstream;
