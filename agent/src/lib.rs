//! The agent: runs the replicas that it is assigned on one host, and nothing else.
//!
//! Absent from here: any decision about placement. What should run comes from a controller as an assignment, what became of it goes
//! back as observations, and nothing of it is kept on the disk. Two processes share the work: the agent decides and talks HTTP; its
//! guardian, a small single-threaded process, is the parent of every replica.

#![deny(unsafe_code)]

mod api;
mod artifact;
mod check;
mod clock;
mod config;
mod goodbye;
mod guardian;
mod logs;
mod metrics;
mod node;
mod observe;
mod os;
mod owner;
mod port;
mod probe;
mod program;
mod record;
mod run;
mod runtime_dir;
mod slot;
mod usage;
mod uses;

pub use config::{CACHE_BYTES_MAX, Config};
pub use guardian::GUARDIAN_ARG;
pub use os::guardian_main;
pub use run::{Error, run};
