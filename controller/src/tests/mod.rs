//! The controller as a whole, in one process: its API over in-process connections, its links over loopback to agents that
//! follow a script. Only the gateway is absent.

#![allow(clippy::unwrap_used)]

mod api;
mod bad_input;
mod cluster;
mod doors;
mod exposition;
mod labels;
mod links;
mod rig;
mod start;
