//! The gateway from outside: raw sockets in front of it, scripted replicas on raw sockets behind it.
#![allow(clippy::unwrap_used)]

mod balance;
mod client;
mod fields;
mod hold;
mod limits;
mod local;
mod message;
mod order;
mod replay;
mod rig;
mod shutdown;
mod stream;
mod tunnel;
mod upgrade;
mod upstream;
