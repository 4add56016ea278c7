//! What the cluster's own processes hold in memory while nothing happens.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::REPLICAS;
use crate::harness::process::Memory;
use crate::harness::{Cluster, Process};
use crate::table::{Row, Unit, median};

/// So long nothing happens before memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// The number of workers for the figure that has no bar.
const MANY: usize = 100;
const MB: f64 = 1e6;

/// A new cluster each time, so that each figure is of a fresh start.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let (mut nodes, mut controllers) = (Vec::new(), Vec::new());
    let mut with_many = None;
    for _ in 0..runs {
        let cluster = Cluster::start(2).await?;
        cluster.settle(REPLICAS).await?;
        sleep(IDLE).await;
        nodes.push(largest_node(&cluster)?);
        controllers.push(of_controller(&cluster)?);
        if with_many.is_none() {
            cluster.settle(MANY).await?;
            sleep(IDLE).await;
            with_many = Some((largest_node(&cluster)?, of_controller(&cluster)?));
        }
        cluster.end()?;
    }
    let (many_node, many_controller) = with_many.context("memory was never read")?;
    Ok(vec![
        row("idle memory of agent + guardian, 2 workers each (RSS)", 15.0, &nodes, (many_node, MANY / 2)),
        row("idle memory of the controller, 4 workers (RSS)", 30.0, &controllers, (many_controller, MANY)),
    ])
}

fn row(what: &str, bar_mb: f64, samples: &[Memory], (many, workers): (Memory, usize)) -> Row {
    let rss = samples.iter().map(|memory| memory.rss / MB).collect();
    let pss: Vec<f64> = samples.iter().map(|memory| memory.pss / MB).collect();
    let pss = median(&pss).unwrap_or_default();
    let note = format!("PSS {pss:.1} MB; with {workers} workers RSS {:.1} MB, PSS {:.1} MB", many.rss / MB, many.pss / MB);
    Row::at_most(what, bar_mb, Unit::Megabytes, rss).note(note)
}

/// The agent that holds more, together with its guardian. Their shared pages count twice in RSS.
fn largest_node(cluster: &Cluster) -> Result<Memory> {
    let mut largest: Option<Memory> = None;
    for agent in &cluster.agents {
        let (own, guardian) = (of(agent.program.pid())?, agent.guardian()?.memory()?);
        let both = Memory { rss: own.rss + guardian.rss, pss: own.pss + guardian.pss };
        largest = Some(largest.filter(|other| other.rss >= both.rss).unwrap_or(both));
    }
    largest.context("there is no agent")
}

fn of_controller(cluster: &Cluster) -> Result<Memory> {
    of(cluster.controller().pid())
}

fn of(pid: i32) -> Result<Memory> {
    Process::of(pid).context("it has ended")?.memory()
}
