//! 40 requests one after the other over 4 workers: each answers 10.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use http::Method;

use super::REPLICAS;
use crate::harness::Cluster;
use crate::table::Row;

const REQUESTS: usize = 40;

/// On a new connection each, as curl does; then all on one.
pub async fn measure(runs: usize) -> Result<Vec<Row>> {
    let cluster = Cluster::start(2).await?;
    cluster.settle(REPLICAS).await?;
    let (mut news, mut kepts) = (Counts::default(), Counts::default());
    for _ in 0..runs {
        let mut turn = Vec::new();
        for _ in 0..REQUESTS {
            turn.push(cluster.get_app().await?.text());
        }
        news.add(&turn)?;
        turn.clear();
        let mut kept = cluster.connect().await?;
        for _ in 0..REQUESTS {
            turn.push(kept.call(Method::GET, "/", "").await?.text());
        }
        kepts.add(&turn)?;
    }
    cluster.end()?;
    let row = |how: &str, counts: Counts| {
        Row::fact(format!("40 sequential requests over 4 workers, {how}"), "10 each", counts.shown(), counts.is_even(), runs)
    };
    Ok(vec![row("a connection each", news), row("one connection", kepts)])
}

/// How many requests each worker got, run by run.
#[derive(Default)]
struct Counts(Vec<Vec<usize>>);

impl Counts {
    fn add(&mut self, answers: &[String]) -> Result<()> {
        let mut by_worker: BTreeMap<&str, usize> = BTreeMap::new();
        for answer in answers {
            let id = answer.strip_prefix("Hello from Worker ID: ").and_then(|rest| rest.split_once('.'));
            let (id, _) = id.with_context(|| format!("not a worker's answer: {answer}"))?;
            *by_worker.entry(id).or_default() += 1;
        }
        self.0.push(by_worker.into_values().collect());
        Ok(())
    }

    fn is_even(&self) -> bool {
        self.0.iter().all(|run| run.len() == REPLICAS && run.iter().all(|count| *count == REQUESTS / REPLICAS))
    }

    /// The first run that is not even, or else any.
    fn shown(&self) -> String {
        let uneven = self.0.iter().find(|run| run.iter().any(|count| *count != REQUESTS / REPLICAS));
        let run = uneven.or(self.0.first()).map(Vec::as_slice).unwrap_or_default();
        run.iter().map(usize::to_string).collect::<Vec<String>>().join(" ")
    }
}
