//! One run of the benchmark: the scenarios one after the other, then the table.

use std::process::ExitCode;
use std::{env, fs, thread};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::flood;
use crate::options::{HELP, Options};
use crate::rows::Scenario;
use crate::table::{Row, Table};

/// Measures what the command line asks for.
pub fn main() -> ExitCode {
    // An agent started us as a replica.
    if let [_, arg, file] = &env::args().collect::<Vec<_>>()[..]
        && arg == flood::ARG
    {
        return flood::main(file);
    }
    match begin() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<ExitCode> {
    let options = Options::parse(env::args().skip(1))?;
    if options.help {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    if options.list {
        if options.bench {
            Scenario::ALL.iter().for_each(|scenario| println!("{}", scenario.name()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !options.bench {
        // `cargo test --benches` starts us too, and a test run is no place for figures.
        return Ok(ExitCode::SUCCESS);
    }
    raise_file_limit();
    println!("{}", machine());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let table = runtime.block_on(async {
        // To end the scenario is to drop it, and what it started goes with it.
        tokio::select! {
            biased;
            stopped = stop_signal() => { stopped?; bail!("stopped by a signal") },
            table = measure(&options) => Ok(table),
        }
    })?;
    println!("\n{table}");
    Ok(match table.missed() {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("{missed} NOT MET");
            if options.check { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    })
}

async fn measure(options: &Options) -> Table {
    let mut table = Table::default();
    for scenario in Scenario::ALL.into_iter().filter(|scenario| options.wants(scenario.name())) {
        println!("  {} ...", scenario.name());
        let rows = scenario.measure(options).await;
        table.extend(rows.unwrap_or_else(|error| vec![Row::failed(scenario.name(), format!("{error:#}"))]));
    }
    table
}

/// Returns when somebody wants us to stop.
async fn stop_signal() -> Result<()> {
    let wait_for = |kind| signal(kind).context("cannot wait for signals");
    let (mut interrupt, mut terminate, mut hangup) =
        (wait_for(SignalKind::interrupt())?, wait_for(SignalKind::terminate())?, wait_for(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {},
        _ = terminate.recv() => {},
        _ = hangup.recv() => {},
    }
    Ok(())
}

/// The load generator holds a connection for each request that waits: its own limit must not be what fails them.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the failed requests say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// On what this was measured. The load matters most: figures of a busy machine are worth nothing.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) { "DEBUG build: the bars are for a release build" } else { "release build" };
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    format!("{profile}, {cores} cores, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}
