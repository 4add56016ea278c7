//! A controller that was frozen: it must not take its own absence for that of its nodes.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::Cluster;
use crate::table::{Row, median};

const FROZEN: Duration = Duration::from_secs(10);
/// Long enough for a node that was wrongly given up to be replaced.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// SIGSTOP, 10 s, SIGCONT.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let cluster = Cluster::start(2).await?;
    let mut before = cluster.settle(REPLICAS).await?.identities();
    let mut answers_s = Vec::new();
    let mut restarted = 0;
    for _ in 0..runs {
        cluster.controller().signal(Signal::STOP)?;
        sleep(FROZEN).await;
        let begun = Instant::now();
        cluster.controller().signal(Signal::CONT)?;
        answers_s.push(cluster.seconds_until(begun, "4 replicas run", |status| status.is_settled(REPLICAS)).await?);
        sleep(AFTERWARDS).await;
        let after = cluster.status().await?.identities();
        restarted += after.difference(&before).count().max(before.difference(&after).count());
        before = after;
    }
    cluster.end()?;
    let answers = median(&answers_s).unwrap_or_default();
    let row = Row::fact("controller frozen 10 s -> workers restarted", "0", restarted.to_string(), restarted == 0, runs);
    Ok(vec![row.note(format!("/status was complete {answers:.3} s after SIGCONT"))])
}
