//! How fast the gateway is beside nginx and HAProxy, in front of the same workers, in the same run.
//!
//! Everything is looked at from outside, on the built programs: a real controller with its gateway, a real agent, real workers.
//! Nothing of Ostler is linked in. How to run it and how to read it is in `benches/README.md`.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod contest;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod samples;
#[cfg(target_os = "linux")]
mod shuttle;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod wrk;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    // The byte shuttle is a process of its own, like the proxies that it is compared with: this program, started again.
    match std::env::args().nth(1).as_deref() {
        Some(shuttle::ARG) => shuttle::main(std::env::args().skip(2)),
        _ => run::main(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: these figures need the epoll and the /proc of Linux");
    ExitCode::SUCCESS
}
