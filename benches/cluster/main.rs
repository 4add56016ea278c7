//! What the cluster does, in figures: how fast it starts, replaces and recovers, and what it costs while idle.
//!
//! Every figure is taken from outside, on the built programs: real processes, real signals, HTTP on loopback, `/proc`. Nothing of
//! Ostler is linked in, so that a figure cannot be better than what a user sees. How to run it and how to read it is in
//! `benches/README.md`.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod flood;
#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod table;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: these figures need the signals and the /proc of Linux");
    ExitCode::SUCCESS
}
