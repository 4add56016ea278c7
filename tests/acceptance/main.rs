//! What the built programs do, as an operator would see it: real processes, real HTTP, real signals.
//!
//! The scenarios hold the programs alone and use none of the libraries behind them. They read as scripts; what they stand on is
//! in `harness`. Each starts a cluster of its own, on ports and in a directory of its own, and fails if a process or a file is
//! left when it ends.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod harness;

mod access;
mod agent_api;
mod app_source;
mod app_source_s3;
mod apps;
mod bad_input;
mod broken_programs;
mod cgroups;
mod command_lines;
mod damage;
mod demo;
mod examples;
mod failing_workers;
mod foreign;
mod gateway;
mod goodbye;
mod handed_over;
#[path = "../../benches/soak/driver.rs"]
mod kill_driver;
mod kills;
mod kills_by_seed;
mod limits;
mod logs;
mod lost_requests;
mod membership;
mod namespaces;
mod operator;
mod planned_restart;
mod process_trees;
mod restarts;
mod seven;
mod silence;
mod specs;
mod stale_connections;
mod traffic;
mod usage;
mod uses;
