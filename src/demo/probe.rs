//! How the demo calls its controller and waits: a condition, and a deadline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::client::Client;
use crate::view::{Replica, Status};

/// How often `/status` is asked while something is waited for: it bounds the error of what is measured.
const LOOK: Duration = Duration::from_millis(5);

/// `POST`s a JSON text.
pub async fn post(client: &Client, target: &str, json: &str) -> anyhow::Result<Bytes> {
    let answer = client.post(target, json.to_owned()).await?;
    answer.accepted().with_context(|| format!("POST {target} {json} failed"))
}

/// Waits until `/status` fits, and says how long that took since `since`.
pub async fn until(
    client: &Client,
    what: &str,
    since: Instant,
    so_long: Duration,
    fits: impl Fn(&Status) -> bool,
) -> anyhow::Result<(Status, Duration)> {
    loop {
        let status = Status::fetch(client).await?;
        let taken = since.elapsed();
        if fits(&status) {
            return Ok((status, taken));
        }
        if taken > so_long {
            bail!("after {} s still not: {what}; the map shows {}", so_long.as_secs(), crate::demo::map::summary(&status));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The replicas that run, are ready and are to go on.
pub fn ready(status: &Status) -> impl Iterator<Item = &Replica> {
    status.replicas.iter().filter(|replica| replica.ready && replica.state == "running")
}

/// How many of them a node has.
pub fn ready_on(status: &Status, url: &str) -> usize {
    ready(status).filter(|replica| replica.node == url).count()
}

/// The state of the node at `url`.
pub fn node_state<'a>(status: &'a Status, url: &str) -> Option<&'a str> {
    status.nodes.iter().find(|node| node.url == url).map(|node| node.state.as_str())
}

/// Waits until none of these processes lives.
pub async fn all_end(pids: &BTreeSet<u32>, so_long: Duration) -> anyhow::Result<()> {
    let since = Instant::now();
    while let Some(pid) = pids.iter().find(|pid| lives(**pid)) {
        if since.elapsed() > so_long {
            bail!("process {pid} still lives");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether a process of this host lives.
#[cfg(unix)]
fn lives(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Not known here: the job object of the agent ends its processes.
#[cfg(not(unix))]
fn lives(_pid: u32) -> bool {
    false
}
