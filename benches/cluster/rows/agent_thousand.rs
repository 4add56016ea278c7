//! A thousand replicas on one host: the time from the call to the last one's being ready, against a bare loop.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::json;

use crate::bare::{self, Way};
use crate::harness::{LoneAgent, http1, lone_agent};
use crate::table::{Row, Unit, median};

const MANY: usize = 1_000;
/// So many of them are asked who they are.
const ASKED: usize = 50;

/// A new agent each time, in turns with a bare loop over the same program.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let way = Way::fastest(MANY, 1)?;
    let (mut ratios, mut ours, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let bare = bare::spawn_and_connect(MANY, way)?.as_secs_f64();
        let mut agent = LoneAgent::start().await?;
        let mut observing = agent.observe().await?;
        let begun = Instant::now();
        agent.assign(&json!({ "command": ["worker"] }), MANY).await?;
        observing.until("1,000 replicas are ready", |seen| seen.values().filter(|seen| seen.ready).count() == MANY).await?;
        let our = begun.elapsed().as_secs_f64();
        // Ready must be true.
        for at in (0..MANY).step_by(MANY / ASKED) {
            let id = lone_agent::id(at);
            let port = observing.replicas.get(&id).and_then(|seen| seen.port).context("a replica that is ready has no port")?;
            let answer = http1::call(port, Method::GET, "/", "").await?;
            ensure!(answer.text().contains(&id), "port {port} is not replica {id}: {}", answer.text());
        }
        agent.end()?;
        ratios.push(our / bare);
        ours.push(our);
        bares.push(bare);
    }
    let shown = |samples: &[f64]| median(samples).unwrap_or_default();
    let note = format!("{:.3} s against {:.3} s of the bare loop ({} at a time)", shown(&ours), shown(&bares), way.parallel);
    Ok(vec![Row::at_most("1,000 replicas ready on one agent / bare spawn-and-connect", 2.0, Unit::Times, ratios).note(note)])
}
