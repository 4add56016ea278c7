//! kill -9 of an agent, or of its guardian: what ran under it ends at once, and is replaced.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::{Cluster, Process};
use crate::table::{Row, Unit};

/// Far above the bar.
const GONE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Whom to kill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Guardian,
}

/// kill -9 of an agent: its guardian and workers go, and the other node takes over.
pub async fn agent(runs: usize) -> Result<Vec<Row>> {
    measure("kill -9 of an agent", Victim::Agent, runs).await
}

/// kill -9 of a guardian: its workers go, and its agent starts them again.
pub async fn guardian(runs: usize) -> Result<Vec<Row>> {
    measure("kill -9 of a guardian", Victim::Guardian, runs).await
}

/// A new cluster each time.
async fn measure(what: &str, victim: Victim, runs: usize) -> Result<Vec<Row>> {
    let (mut gone, mut replaced) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let cluster = Cluster::start(2).await?;
        cluster.settle(REPLICAS).await?;
        let agent = cluster.agent(1)?;
        let (guardian, workers) = (agent.guardian()?, agent.workers()?);
        ensure!(!workers.is_empty(), "the agent that is to be killed runs nothing");
        let mut doomed = workers.clone();
        let begun = Instant::now();
        match victim {
            Victim::Agent => {
                doomed.push(guardian);
                agent.program.signal(Signal::KILL)?;
            }
            Victim::Guardian => guardian.signal(Signal::KILL)?,
        }
        gone.push(seconds_until_gone(begun, &doomed).await?);
        let is_replaced = "what was killed is replaced";
        replaced.push(cluster.seconds_until(begun, is_replaced, |status| status.serves(REPLICAS, &workers)).await?);
        cluster.end()?;
    }
    Ok(vec![
        Row::at_most(format!("{what} -> its processes gone"), 0.2, Unit::Seconds, gone),
        Row::at_most(format!("{what} -> replaced and ready"), 1.0, Unit::Seconds, replaced),
    ])
}

async fn seconds_until_gone(begun: Instant, doomed: &[Process]) -> Result<f64> {
    while doomed.iter().any(|process| !process.is_gone()) {
        ensure!(begun.elapsed() < GONE_MAX, "processes still run {} s after the kill", GONE_MAX.as_secs());
        sleep(LOOK_EVERY).await;
    }
    Ok(begun.elapsed().as_secs_f64())
}
