//! The programs: `ostler` with its operator commands, `ostler demo`, and the roles `controller`, `agent` and `worker`,
//! each also a program of that name.
//!
//! Here are command lines, tables and exit codes; what a role does is in the crate of its name. Operator commands talk
//! to a controller over HTTP as anybody could, and use nothing of it but its API.
#![forbid(unsafe_code)]

mod amount;
mod client;
mod command;
mod demo;
mod duration;
mod failure;
mod files;
mod format;
mod go_dash;
mod log;
mod operator;
mod output;
mod parent;
mod role;
mod signals;
mod size;
mod table;
mod view;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

pub use role::Role;

/// What every program does. `own` is the role of a program that has one; the name it was started under comes first, so
/// that a link called `worker` to any of them is a worker.
#[must_use]
pub fn main(own: Option<Role>) -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    // First of all: the guardian must have no thread, no runtime and next to no memory.
    if args.get(1).is_some_and(|arg| arg == agent::GUARDIAN_ARG) {
        return agent::guardian_main();
    }
    match args.first().and_then(|name| Role::of_program(name)).or(own) {
        Some(role) => role::main(role, args),
        None => operator::main(args),
    }
}
