//! kill -9 of a worker: the time until its replacement is ready.

use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::bare::{self, Way};
use crate::harness::{Cluster, Process};
use crate::table::{Row, Unit, median};

/// How often a single bare worker is started, for the ratio.
const BARE_RUNS: usize = 21;

/// Kills a different replica each time: one that dies twice in a row is made to wait.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let bare_runs = (0..BARE_RUNS).map(|_| Ok(bare::spawn_and_connect(1, Way::SINGLE)?.as_secs_f64())).collect::<Result<Vec<f64>>>()?;
    let bare = median(&bare_runs).context("there is no bare run")?;
    let cluster = Cluster::start(2).await?;
    let replicas = runs.max(2);
    let mut samples = Vec::new();
    let first = cluster.settle(replicas).await?;
    for replica in first.replicas.iter().take(runs) {
        let victim = replica.pid.and_then(Process::of).context("a replica that is ready has no process")?;
        let begun = Instant::now();
        victim.signal(Signal::KILL)?;
        let replaced = "the killed worker is replaced";
        samples.push(cluster.seconds_until(begun, replaced, |status| status.serves(replicas, &[victim])).await?);
    }
    cluster.end()?;
    let ratios = samples.iter().map(|sample| sample / bare).collect();
    let note = format!("one bare spawn-and-connect took {:.2} ms (median of {BARE_RUNS})", bare * 1e3);
    Ok(vec![
        Row::at_most("kill -9 of a worker -> replacement ready", 0.3, Unit::Seconds, samples),
        Row::at_most("kill -9 of a worker -> ready / one bare spawn-and-connect", 10.0, Unit::Times, ratios).note(note),
    ])
}
