//! An agent that goes silent and comes back: replaced while it is away, and no replica too many afterwards.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::Cluster;
use crate::table::{Row, Unit};

/// The default of `--lost-after`.
const LOST_AFTER_S: f64 = 3.0;
/// So long the number must then stay what it is, to count as reached.
const STEADY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const GIVE_UP: Duration = Duration::from_secs(30);

/// A new cluster each time.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let (mut replaced, mut settled) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let cluster = Cluster::start(2).await?;
        cluster.settle(REPLICAS).await?;
        let (survivor, silent) = (cluster.agent(0)?, cluster.agent(1)?);
        let begun = Instant::now();
        silent.program.signal(Signal::STOP)?;
        let moved = cluster.seconds_until(begun, "4 replicas are ready on the survivor", |status| {
            status.serving().filter(|replica| replica.node == survivor.url).count() == REPLICAS
        });
        replaced.push(moved.await?);
        let begun = Instant::now();
        silent.program.signal(Signal::CONT)?;
        settled.push(seconds_until_exact(&cluster, begun).await?);
        cluster.end()?;
    }
    Ok(vec![
        Row::at_most("SIGSTOP of an agent -> replaced (lost_after 3 s)", LOST_AFTER_S + 1.0, Unit::Seconds, replaced),
        Row::at_most("SIGCONT of that agent -> exactly the desired number", 3.0, Unit::Seconds, settled),
    ])
}

/// Exactly: so many processes on both hosts together, so many in `/status`, both nodes ready; and it stays so.
async fn seconds_until_exact(cluster: &Cluster, begun: Instant) -> Result<f64> {
    let mut since: Option<Duration> = None;
    loop {
        let status = cluster.status().await?;
        let processes = cluster.agents.iter().map(|agent| Ok(agent.workers()?.len())).sum::<Result<usize>>()?;
        let is_exact = processes == REPLICAS && status.is_settled(REPLICAS) && status.nodes_ready().len() == cluster.agents.len();
        let now = begun.elapsed();
        since = is_exact.then(|| since.unwrap_or(now));
        if let Some(since) = since.filter(|since| now - *since > STEADY) {
            return Ok(since.as_secs_f64());
        }
        ensure!(now < GIVE_UP, "{processes} processes, and /status says {status:?}");
        sleep(LOOK_EVERY).await;
    }
}
