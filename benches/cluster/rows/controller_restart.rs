//! kill -9 of the controller, and a new start: everything that ran is found again, and nothing was touched.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::Cluster;
use crate::table::{Row, Unit};

/// So long nothing may be restarted afterwards either: a wrong decision may come late.
const STEADY: Duration = Duration::from_secs(4);
/// Between two tries of a request while the controller is away.
const TRY_EVERY: Duration = Duration::from_millis(2);
const GIVE_UP: Duration = Duration::from_secs(30);

/// The same cluster again and again.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let mut cluster = Cluster::start(2).await?;
    let before = cluster.settle(REPLICAS).await?;
    let (mut serving, mut known) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let begun = Instant::now();
        cluster.restart_controller().await?;
        while !cluster.get_app().await.is_ok_and(|answer| answer.status.is_success()) {
            ensure!(begun.elapsed() < GIVE_UP, "the gateway does not serve {} s after the restart", GIVE_UP.as_secs());
            sleep(TRY_EVERY).await;
        }
        serving.push(begun.elapsed().as_secs_f64());
        known.push(cluster.seconds_until(begun, "4 replicas run", |status| status.is_settled(REPLICAS)).await?);
    }
    sleep(STEADY).await;
    let after = cluster.status().await?;
    let same = after.identities() == before.identities()
        && after.nodes_ready() == before.nodes_ready()
        && after.apps.iter().all(|app| app.desired == REPLICAS);
    let shown = if same { "the same".to_owned() } else { format!("{after:?}, before {before:?}") };
    cluster.end()?;
    Ok(vec![
        Row::at_most("kill -9 and restart of the controller -> app served", 1.0, Unit::Seconds, serving),
        Row::at_most("kill -9 and restart of the controller -> /status complete", 1.0, Unit::Seconds, known),
        Row::fact("kill -9 and restart of the controller -> pids, counts, nodes", "the same", shown, same, runs),
    ])
}
