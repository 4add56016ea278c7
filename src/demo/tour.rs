//! The seven scenarios, walked one after the other on real processes: what is done, what must hold, how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::StatusCode;

use crate::client::Client;
use crate::command::status::replicas;
use crate::demo::child::Ask;
use crate::demo::load::{Load, worker_id};
use crate::demo::probe::{all_end, node_state, post, ready, ready_on, until};
use crate::demo::stage::Stage;
use crate::duration::seconds;
use crate::format::Format;
use crate::output::{print, printable};
use crate::view::Status;

/// How long any one thing may take before the tour gives up. What it took is printed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the replicas of an agent that leaves may take to be ready elsewhere: the original says 3 to 6 seconds.
const FAILOVER: Duration = Duration::from_secs(6);
/// How many requests scenario 4 sends, over four workers; also how many scenario 6 sees before the agent goes and after it went.
const REQUESTS: usize = 40;
/// How many lines of the controller's log scenario 6 shows.
const LOG_LINES_MAX: usize = 12;

struct Tour<'a, 'b> {
    stage: &'a mut Stage<'b>,
    client: Client,
    nodes: [String; 2],
    measured: Vec<(u8, &'static str, Duration)>,
    /// Every process of a worker that was seen.
    pids: BTreeSet<u32>,
}

/// Walks them all; the first that does not hold ends the tour. Returns every worker's process that was seen.
pub async fn walk(stage: &mut Stage<'_>) -> anyhow::Result<BTreeSet<u32>> {
    let client = stage.client()?;
    let nodes = [stage.agent_url(0), stage.agent_url(1)];
    print(&format!("The seven scenarios. Controller {}, agents {} and {}.\n", client.url(), nodes[0], nodes[1]))?;
    let mut tour = Tour { stage, client, nodes, measured: Vec::new(), pids: BTreeSet::new() };
    tour.initialise().await.context("scenario 1 did not hold")?;
    tour.scale_up().await.context("scenario 2 did not hold")?;
    tour.monitor().await.context("scenario 3 did not hold")?;
    tour.balance().await.context("scenario 4 did not hold")?;
    tour.scale_down().await.context("scenario 5 did not hold")?;
    tour.lose_a_host().await.context("scenario 6 did not hold")?;
    tour.take_it_back().await.context("scenario 7 did not hold")?;
    tour.figures()?;
    Ok(tour.pids)
}

impl Tour<'_, '_> {
    async fn initialise(&mut self) -> anyhow::Result<()> {
        title(1, "Initialise the cluster: two hosts are registered")?;
        let since = Instant::now();
        for node in self.nodes.clone() {
            self.post("/add-node", &format!("{{\"url\":\"{node}\"}}")).await?;
        }
        let both_ready = |status: &Status| self.nodes.iter().all(|node| node_state(status, node) == Some("ready"));
        let (_, taken) = until(&self.client, "both nodes ready", since, PATIENCE, both_ready).await?;
        self.held(1, "two nodes registered and ready", taken)
    }

    async fn scale_up(&mut self) -> anyhow::Result<()> {
        title(2, "Scale up: four replicas, spread over both hosts")?;
        let taken = self.scale(4, "4 replicas ready, 2 on each node", |status, [first, second]| {
            ready(status).count() == 4 && ready_on(status, first) == 2 && ready_on(status, second) == 2
        });
        let taken = taken.await?;
        self.held(2, "0 -> 4 replicas ready, 2 on each node", taken)
    }

    async fn monitor(&mut self) -> anyhow::Result<()> {
        title(3, "Monitoring: the cluster map")?;
        let since = Instant::now();
        print("   GET /status\n")?;
        let status = self.status().await?;
        let taken = since.elapsed();
        print(&indented(&replicas(&status, Format::Table)))?;
        let ids: BTreeSet<&str> = status.replicas.iter().map(|replica| replica.id.as_str()).collect();
        ensure!(ids.len() == 4, "the map shows {} different ids, not 4", ids.len());
        for replica in &status.replicas {
            ensure!(self.nodes.contains(&replica.node), "replica {} is bound to an unknown node {}", replica.id, replica.node);
            ensure!(replica.uptime_seconds.is_some(), "replica {} has no uptime", replica.id);
            ensure!(replica.pid.is_some() && replica.port.is_some(), "replica {} has no pid or no port", replica.id);
        }
        self.held(3, "the map: ids, uptimes and nodes of 4 replicas", taken)
    }

    async fn balance(&mut self) -> anyhow::Result<()> {
        title(4, "The balancer: requests go round the workers")?;
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        let since = Instant::now();
        print(&format!("   GET /, {REQUESTS} times\n"))?;
        for at in 0..REQUESTS {
            let answer = self.client.get("/").await?;
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(answer.status == StatusCode::OK, "GET / answered {}: {}", answer.status, printable(text.trim_end()));
            let id = worker_id(&text).with_context(|| format!("no worker says this: {}", printable(&text)))?;
            *answers.entry(id.to_owned()).or_default() += 1;
            if at == 0 {
                print(&format!("   {}\n", printable(text.trim_end())))?;
            }
        }
        let taken = since.elapsed();
        let shown: BTreeSet<String> = self.status().await?.replicas.into_iter().map(|replica| replica.id).collect();
        for (id, count) in &answers {
            print(&format!("   {count} answers of {}\n", printable(id)))?;
            ensure!(shown.contains(id), "{} answered, and the map does not show it", printable(id));
        }
        ensure!(answers.len() == 4 && answers.values().all(|count| *count == REQUESTS / 4), "the turns were not even");
        self.held(4, "40 requests, 10 for each of 4 workers", taken)
    }

    async fn scale_down(&mut self) -> anyhow::Result<()> {
        title(5, "Scale down: the surplus processes are stopped")?;
        let before = pids(&self.status().await?);
        let since = Instant::now();
        self.scale(2, "2 replicas left", |status, _| status.replicas.len() == 2 && ready(status).count() == 2).await?;
        let kept = pids(&self.status().await?);
        ensure!(kept.is_subset(&before), "a replica was started again though it could have stayed");
        let surplus: BTreeSet<u32> = before.difference(&kept).copied().collect();
        ensure!(surplus.len() == 2, "{} processes were to stop, not 2", surplus.len());
        all_end(&surplus, PATIENCE).await?;
        self.held(5, "4 -> 2 replicas, 2 processes gone", since.elapsed())
    }

    async fn lose_a_host(&mut self) -> anyhow::Result<()> {
        title(6, "Failover: a host falls")?;
        self.scale(4, "4 replicas ready, 2 on each node", |status, [first, second]| {
            ready(status).count() == 4 && ready_on(status, first) == 2 && ready_on(status, second) == 2
        })
        .await?;
        let lost: BTreeSet<u32> = self.status().await?.on(&self.nodes[1]).filter_map(|replica| replica.pid).collect();
        let log_from = self.stage.controller()?.log().length();
        let load = Load::start(self.client.clone());
        load.more(REQUESTS as u64, PATIENCE).await;
        let since = Instant::now();
        print(&format!("   Ctrl+C for the agent {} while requests go on\n", self.nodes[1]))?;
        self.stage.agent(1).context("agent 2 has ended by itself")?.ask(Ask::Interrupt);
        let what = "4 replicas ready on the node that is left";
        let on_the_survivor = |status: &Status| ready_on(status, &self.nodes[0]) == 4;
        let (status, taken) = until(&self.client, what, since, PATIENCE, on_the_survivor).await?;
        self.saw(&status);
        let agent = self.stage.agent(1).context("agent 2 was forgotten")?;
        let ended = agent.wait(PATIENCE).await?.context("the agent did not end")?;
        ensure!(ended.success(), "the agent ended with {ended}");
        let gone = |status: &Status| {
            status.replicas.len() == 4 && !matches!(node_state(status, &self.nodes[1]), Some("ready" | "draining" | "connecting"))
        };
        let (status, _) = until(&self.client, "the node shown as gone", since, PATIENCE, gone).await?;
        all_end(&lost, PATIENCE).await?;
        load.more(REQUESTS as u64, PATIENCE).await;
        let outcome = load.stop().await?;
        let said = self.stage.controller()?.log().read_from(log_from)?;
        let story: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        print("   the controller's log:\n")?;
        for line in story.iter().take(LOG_LINES_MAX) {
            print(&format!("   | {}\n", printable(line)))?;
        }
        ensure!(
            story.iter().any(|line| self.names_of(&status, 1).iter().any(|name| line.contains(name))),
            "the log does not name the node"
        );
        print(&format!("   {} requests were answered meanwhile, {} failed\n", outcome.answered, outcome.failed))?;
        ensure!(outcome.failed == 0, "{} requests failed; the first: {}", outcome.failed, outcome.first_failure.unwrap_or_default());
        ensure!(taken <= FAILOVER, "the failover took {}, more than {}", seconds(taken), seconds(FAILOVER));
        self.held(6, "Ctrl+C of an agent -> 4 ready on the survivor, no request failed", taken)
    }

    async fn take_it_back(&mut self) -> anyhow::Result<()> {
        title(7, "Recovery: the node returns, and is used again")?;
        let before = pids(&self.status().await?);
        print(&format!("   the agent {} is started again\n", self.nodes[1]))?;
        let since = Instant::now();
        self.stage.start_agent(1).await?;
        let returned = |status: &Status| node_state(status, &self.nodes[1]) == Some("ready");
        let (_, taken) = until(&self.client, "the node ready again", since, PATIENCE, returned).await?;
        self.held(7, "agent started -> its node is ready", taken)?;
        let used_again = |status: &Status, [first, second]: &[String; 2]| {
            ready(status).count() == 6 && ready_on(status, first) == 4 && ready_on(status, second) == 2
        };
        let taken = self.scale(6, "6 replicas ready, the new ones on the node that returned", used_again).await?;
        ensure!(before.is_subset(&pids(&self.status().await?)), "a worker that ran well was started again");
        self.held(7, "4 -> 6 replicas ready, both new ones on the node that returned", taken)
    }

    /// `POST /scale`, and how long it took until the map fits.
    async fn scale(&mut self, count: u32, what: &str, fits: impl Fn(&Status, &[String; 2]) -> bool) -> anyhow::Result<Duration> {
        let since = Instant::now();
        self.post("/scale", &format!("{{\"count\": {count}}}")).await?;
        let (status, taken) = until(&self.client, what, since, PATIENCE, |status| fits(status, &self.nodes)).await?;
        self.saw(&status);
        Ok(taken)
    }

    async fn post(&self, target: &str, json: &str) -> anyhow::Result<()> {
        print(&format!("   POST {target} {json}\n"))?;
        post(&self.client, target, json).await?;
        Ok(())
    }

    async fn status(&mut self) -> anyhow::Result<Status> {
        let status = Status::fetch(&self.client).await?;
        self.saw(&status);
        Ok(status)
    }

    fn saw(&mut self, status: &Status) {
        self.pids.extend(pids(status));
    }

    fn names_of(&self, status: &Status, at: usize) -> Vec<String> {
        let node = status.nodes.iter().find(|node| node.url == self.nodes[at]);
        let name = node.map(|node| node.name.clone()).filter(|name| !name.is_empty());
        std::iter::once(self.nodes[at].clone()).chain(name).collect()
    }

    fn held(&mut self, scenario: u8, what: &'static str, taken: Duration) -> anyhow::Result<()> {
        self.measured.push((scenario, what, taken));
        Ok(print(&format!("   held: {what}: {}\n", seconds(taken)))?)
    }

    fn figures(&self) -> anyhow::Result<()> {
        let rows = self.measured.iter().map(|(scenario, what, taken)| vec![scenario.to_string(), (*what).to_owned(), seconds(*taken)]);
        Ok(print(&format!("\n{}", crate::table::render(&["SCENARIO", "MEASURED", "TIME"], rows)))?)
    }
}

fn title(scenario: u8, text: &str) -> anyhow::Result<()> {
    Ok(print(&format!("\n{scenario}. {text}\n"))?)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn pids(status: &Status) -> BTreeSet<u32> {
    status.replicas.iter().filter_map(|replica| replica.pid).collect()
}
