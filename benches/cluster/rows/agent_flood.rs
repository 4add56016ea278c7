//! A replica that writes 200 MB/s to its stdout.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::flood;
use crate::harness::{LoneAgent, lone_agent};
use crate::table::{Row, Unit, median};

/// A write that took so long was blocked, and not merely put aside by the system for another process.
const BLOCKED_SECONDS: f64 = 0.25;
const MEMORY_MB_MAX: f64 = 20.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);
const GIVE_UP: Duration = Duration::from_secs(60);
const MB: f64 = 1e6;

/// A new agent each time.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let (mut waits, mut rates, mut peaks, mut percent, mut dropped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let mut agent = LoneAgent::start().await?;
        let mut observing = agent.observe().await?;
        let processes = agent.processes()?;
        let said = agent.dir.path().join("flood");
        let program = std::env::current_exe().context("cannot tell this program's file")?;
        let before = processes.iter().map(crate::harness::Process::cpu_ns).sum::<Result<u64>>()?;
        let begun = Instant::now();
        agent.assign(&json!({ "command": [program, flood::ARG, said] }), 1).await?;
        let mut peak: f64 = 0.0;
        let outcome = loop {
            let rss = processes.iter().map(|process| Ok(process.memory()?.rss)).sum::<Result<f64>>()?;
            peak = peak.max(rss / MB);
            if let Some(outcome) = std::fs::read_to_string(&said).ok().filter(|text| !text.is_empty()) {
                break outcome;
            }
            ensure!(begun.elapsed() < GIVE_UP, "it did not say within {} s how it went", GIVE_UP.as_secs());
            sleep(LOOK_EVERY).await;
        };
        let cpu_ns = processes.iter().map(crate::harness::Process::cpu_ns).sum::<Result<u64>>()? - before;
        let figures: Vec<f64> = outcome.split(' ').filter_map(|figure| figure.parse().ok()).collect();
        let [bytes, took_us, longest_us] = figures[..] else { anyhow::bail!("it says {outcome:?} of how it went") };
        // What it dropped is said within a second.
        observing.read_for(Duration::from_secs(2)).await?;
        dropped.push(observing.replicas.get(&lone_agent::id(0)).map_or(0, |seen| seen.log_dropped_bytes) as f64 / MB);
        agent.end()?;
        waits.push(longest_us / 1e6);
        rates.push(bytes / took_us);
        peaks.push(peak);
        percent.push(cpu_ns as f64 / (took_us * 1e3) * 100.0);
    }
    let shown = |samples: &[f64]| median(samples).unwrap_or_default();
    let note = format!(
        "{:.0} MB/s were written for {} s; agent and guardian used {:.0} % of a core; {:.0} MB were dropped",
        shown(&rates),
        flood::TIME.as_secs(),
        shown(&percent),
        shown(&dropped)
    );
    Ok(vec![
        Row::at_most("a replica that writes 200 MB/s -> its longest wait for a write", BLOCKED_SECONDS, Unit::Seconds, waits).note(note),
        Row::at_most("a replica that writes 200 MB/s -> agent + guardian at most (RSS)", MEMORY_MB_MAX, Unit::Megabytes, peaks),
    ])
}
