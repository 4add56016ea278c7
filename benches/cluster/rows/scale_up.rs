//! From nothing to many: the time from the call to the last replica's being ready.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::REPLICAS;
use crate::bare::{self, Way};
use crate::harness::http1;
use crate::harness::{Cluster, Status};
use crate::table::{Row, Unit, median};

const MANY: usize = 100;
/// Two looks at 100 replicas are further apart than elsewhere: each look costs the controller time that is being measured.
const LOOK_EVERY: Duration = Duration::from_millis(8);

/// 0 -> 4.
pub async fn to_4(runs: usize) -> Result<Vec<Row>> {
    let cluster = Cluster::start(2).await?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        cluster.scale(REPLICAS).await?;
        samples.push(cluster.seconds_until(begun, "4 replicas are ready", |status| status.serves(REPLICAS, &[])).await?);
        check_each_answers(&cluster.status().await?).await?;
        scale_to_nothing(&cluster).await?;
    }
    cluster.end()?;
    Ok(vec![Row::at_most("0 -> 4 replicas ready", 0.5, Unit::Seconds, samples)])
}

/// 0 -> 100, in turns with a bare loop over the same program.
pub async fn to_100(runs: usize) -> Result<Vec<Row>> {
    let way = Way::fastest(MANY, 2)?;
    let cluster = Cluster::start(2).await?;
    let (mut ratios, mut ours, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let bare = bare::spawn_and_connect(MANY, way)?.as_secs_f64();
        let begun = Instant::now();
        cluster.scale(MANY).await?;
        // Nothing can be ready yet; and each look is work for the controller.
        while cluster.status().await?.apps.iter().map(|app| app.ready).sum::<usize>() < MANY {
            ensure!(begun.elapsed() < Duration::from_secs(30), "100 replicas are not ready within 30 s");
            sleep(LOOK_EVERY).await;
        }
        let our = begun.elapsed().as_secs_f64();
        check_each_answers(&cluster.status().await?).await?;
        scale_to_nothing(&cluster).await?;
        ratios.push(our / bare);
        ours.push(our);
        bares.push(bare);
    }
    cluster.end()?;
    let shown = |samples: &[f64]| median(samples).unwrap_or_default();
    let spread = bares.iter().copied().fold(0.0, f64::max) / bares.iter().copied().fold(f64::INFINITY, f64::min);
    let note = format!(
        "{:.3} s against {:.3} s of the bare loop ({} at a time; slowest to fastest {spread:.2}x)",
        shown(&ours),
        shown(&bares),
        way.parallel
    );
    Ok(vec![Row::at_most("0 -> 100 replicas ready / bare spawn-and-connect", 3.0, Unit::Times, ratios).note(note)])
}

/// Ready must be true: each replica answers on its port, with its id.
async fn check_each_answers(status: &Status) -> Result<()> {
    for replica in &status.replicas {
        let port = replica.port.unwrap_or_default();
        let answer = http1::call(port, http::Method::GET, "/", "").await?;
        ensure!(answer.text().contains(&replica.id), "port {port} is not replica {}: {}", replica.id, answer.text());
    }
    Ok(())
}

async fn scale_to_nothing(cluster: &Cluster) -> Result<()> {
    cluster.settle(0).await?;
    // A replica leaves the list with its process; this is only to say so.
    for agent in &cluster.agents {
        ensure!(agent.workers()?.is_empty(), "the agent {} still runs processes", agent.url);
    }
    Ok(())
}
