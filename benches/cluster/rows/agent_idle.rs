//! What an agent and its guardian cost while a hundred replicas do nothing but answer their health checks.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::harness::LoneAgent;
use crate::table::{Row, Unit, median};

const MANY: usize = 100;
/// What belongs to their start is over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// So long the time of the processors is counted.
const WINDOW: Duration = Duration::from_secs(20);
const MB: f64 = 1e6;

/// One agent, looked at several times. It is watched meanwhile, as a controller would.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let mut agent = LoneAgent::start().await?;
    let spec = json!({
        "command": ["worker"],
        "health": [{ "kind": "http", "path": "/healthz", "for": "both", "interval_ms": 2_000 }],
    });
    agent.assign(&spec, MANY).await?;
    let mut observing = agent.observe().await?;
    observing.until("100 replicas are ready", |seen| seen.values().filter(|seen| seen.ready).count() == MANY).await?;
    observing.read_for(SETTLE).await?;
    let [own, guardian] = agent.processes()?;
    let (mut rss, mut pss, mut percent, mut guardians) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let before = [own.cpu_ns()?, guardian.cpu_ns()?];
        observing.read_for(WINDOW).await?;
        let after = [own.cpu_ns()?, guardian.cpu_ns()?];
        let [by_own, by_guardian] = [0, 1].map(|at| (after[at] - before[at]) as f64 / WINDOW.as_nanos() as f64 * 100.0);
        percent.push(by_own + by_guardian);
        guardians.push(by_guardian);
        let [of_own, of_guardian] = [own.memory()?, guardian.memory()?];
        rss.push((of_own.rss + of_guardian.rss) / MB);
        pss.push((of_own.pss + of_guardian.pss) / MB);
    }
    agent.end()?;
    let shown = |samples: &[f64]| median(samples).unwrap_or_default();
    Ok(vec![
        Row::at_most("memory of agent + guardian, 100 idle replicas (RSS)", 20.0, Unit::Megabytes, rss)
            .note(format!("PSS {:.1} MB", shown(&pss))),
        Row::at_most("CPU of agent + guardian, 100 idle replicas, http check every 2 s", 1.0, Unit::Percent, percent)
            .note(format!("the guardian {:.2} % of it; usage of each replica is read once a second", shown(&guardians))),
    ])
}
