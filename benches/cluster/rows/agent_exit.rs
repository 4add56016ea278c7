//! A process ends: the time until its agent says so.

use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{LoneAgent, Process, lone_agent};
use crate::table::{Row, Unit};

const MANY: usize = 100;

/// Each of a hundred replicas is killed once.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let mut agent = LoneAgent::start().await?;
    let mut observing = agent.observe().await?;
    agent.assign(&json!({ "command": ["worker"] }), MANY).await?;
    let mut samples = Vec::new();
    for at in 0..runs.min(MANY) {
        let all_ready =
            |seen: &std::collections::BTreeMap<String, lone_agent::Seen>| seen.values().filter(|seen| seen.ready).count() == MANY;
        observing.until("100 replicas are ready", all_ready).await?;
        let id = lone_agent::id(at);
        let victim = observing.replicas.get(&id).and_then(|seen| seen.pid).and_then(Process::of).context("a replica has no process")?;
        let begun = Instant::now();
        victim.signal(Signal::KILL)?;
        observing.until("the end is said", |seen| seen.get(&id).is_some_and(|seen| !seen.ready || seen.attempt > 1)).await?;
        samples.push(begun.elapsed().as_secs_f64());
    }
    agent.end()?;
    Ok(vec![Row::at_most("kill -9 of a worker -> its agent says so", 0.02, Unit::Seconds, samples)])
}
