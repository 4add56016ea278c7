//! Agents, guardians and replicas as real processes.
//!
//! This program is all of them: the guardian when it is started as one, an agent or a replica by its first argument, else the tests. So no
//! other program need be built first, and nothing but a shell is assumed.

#![allow(clippy::unwrap_used, missing_docs)]

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: an agent runs on Linux only so far");
}

#[cfg(target_os = "linux")]
mod agent_process;
#[cfg(target_os = "linux")]
mod api;
#[cfg(target_os = "linux")]
mod artifacts;
#[cfg(target_os = "linux")]
mod endings;
#[cfg(target_os = "linux")]
mod health;
#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod keeping;
#[cfg(target_os = "linux")]
mod logs;
#[cfg(target_os = "linux")]
mod proc;
#[cfg(target_os = "linux")]
mod replica;
#[cfg(target_os = "linux")]
mod replicas;
#[cfg(target_os = "linux")]
mod run_as;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod store;
#[cfg(target_os = "linux")]
mod uses;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        arg if arg == agent::GUARDIAN_ARG => agent::guardian_main(),
        "agent" => agent_process::main(),
        "replica" => replica::main(),
        _ => runner(),
    }
}

/// Runs each test in turn: those whose name holds the first argument that is no option.
#[cfg(target_os = "linux")]
fn runner() -> std::process::ExitCode {
    let tests: Vec<(&str, fn())> = [
        artifacts::TESTS,
        endings::TESTS,
        keeping::TESTS,
        replicas::TESTS,
        health::TESTS,
        api::TESTS,
        logs::TESTS,
        run_as::TESTS,
        sandbox::TESTS,
        sockets::TESTS,
        uses::TESTS,
    ]
    .concat();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return std::process::ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(&filter)) {
        let began = std::time::Instant::now();
        let result = std::panic::catch_unwind(test);
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", began.elapsed().as_millis());
        failed += u32::from(result.is_err());
    }
    if failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
