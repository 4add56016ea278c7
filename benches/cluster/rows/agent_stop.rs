//! Ctrl+C of an agent while requests come in: all replicas are ready on the survivor, and nobody notices.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::Cluster;
use crate::load::{Load, REASONS_MAX};
use crate::table::{Row, Unit, median};

const RATE_PER_S: u32 = 500;
/// Load before the Ctrl+C, and after the agent has gone.
const AROUND: Duration = Duration::from_secs(1);
/// So much later comes the Ctrl+C in each run than in the one before, or it would always meet the same requests.
const LATER: Duration = Duration::from_millis(17);
/// An agent that stops is given so long: drain + grace + 5 s of the defaults.
const LEAVE_MAX: Duration = Duration::from_secs(25);

/// A new cluster each time.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let (mut ready, mut left) = (Vec::new(), Vec::new());
    let (mut sent, mut failed, mut reasons) = (0, 0, Vec::new());
    let (mut slowest, mut rate_least) = (Duration::ZERO, f64::INFINITY);
    for run in (0..).take(runs) {
        let mut cluster = Cluster::start(2).await?;
        cluster.settle(REPLICAS).await?;
        let load = Load::start(cluster.port, RATE_PER_S)?;
        sleep(AROUND + LATER * run).await;
        let Some(mut leaving) = cluster.agents.pop() else { bail!("there is no agent to stop") };
        let survivor = cluster.agent(0)?.url.clone();
        let workers = leaving.workers()?;
        let begun = Instant::now();
        leaving.program.signal(Signal::INT)?;
        let moved = cluster.seconds_until(begun, "4 replicas are ready on the survivor", |status| {
            status.serving().filter(|replica| replica.node == survivor).count() == REPLICAS
        });
        ready.push(moved.await?);
        let status = leaving.program.ended(LEAVE_MAX).await?;
        left.push(begun.elapsed().as_secs_f64());
        ensure!(status.success(), "the agent ended with {status} after Ctrl+C\n{}", leaving.program.log_end());
        ensure!(workers.iter().all(|worker| worker.is_gone()), "a worker outlived the agent that said goodbye");
        sleep(AROUND).await;
        let report = load.stop().await?;
        sent += report.sent;
        failed += report.failed;
        reasons.extend(report.reasons);
        slowest = slowest.max(report.slowest);
        rate_least = rate_least.min(report.sent as f64 / report.lasted.as_secs_f64());
        cluster.end()?;
    }
    let gone = median(&left).unwrap_or_default();
    let mut requests = Row::fact(
        "Ctrl+C of an agent -> requests that failed at 500 req/s",
        "0",
        format!("{failed} of {sent}"),
        // Load that was not made proves nothing.
        failed == 0 && rate_least > f64::from(RATE_PER_S) * 0.98,
        runs,
    )
    .note(format!("at least {rate_least:.0} req/s, slowest answer {:.0} ms (50 ms are asked for)", slowest.as_secs_f64() * 1e3));
    for reason in reasons.into_iter().take(REASONS_MAX) {
        requests = requests.note(format!("failed: {reason}"));
    }
    Ok(vec![
        Row::at_most("Ctrl+C of an agent -> all ready on the survivor", 2.0, Unit::Seconds, ready)
            .note(format!("the agent had ended after {gone:.3} s (median)")),
        requests,
    ])
}
