//! The agent's HTTP interface: nine paths on one port.
//!
//! Absent from here: any state. What is asked goes to the owner; only bytes stay.

mod assignment;
mod body;
mod connection;
mod endpoint;
mod endpoints;
mod health;
mod problem;
mod serve;
mod tunnel;

pub use serve::{Server, serve};
