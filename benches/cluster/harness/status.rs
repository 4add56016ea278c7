//! What `GET /status` says, as far as it is looked at here.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::Process;

/// The cluster as the controller shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// What is wanted.
    pub apps: Vec<App>,
    /// Where it runs.
    pub nodes: Vec<Node>,
    /// What runs.
    pub replicas: Vec<Replica>,
}

/// An app.
#[derive(Clone, Debug, Deserialize)]
pub struct App {
    /// How many replicas are wanted.
    pub desired: usize,
    /// How many get requests.
    pub ready: usize,
    /// Why what is wanted is not there.
    pub waiting: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its URL.
    pub url: String,
    /// How it is, in a word.
    pub state: String,
}

/// A replica.
#[derive(Clone, Debug, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Its node's URL.
    pub node: String,
    /// Where it is in its life.
    pub state: String,
    /// It gets requests.
    pub ready: bool,
    /// Its process, when it has one.
    pub pid: Option<i32>,
    /// Its port, when it has one.
    pub port: Option<u16>,
    /// How often it was started again in place.
    pub restarts: u32,
}

impl Status {
    /// The replicas that run and get requests.
    pub fn serving(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.ready && replica.state == "running")
    }

    /// Exactly `count` replicas get requests, and none of them is a process in `old`.
    pub fn serves(&self, count: usize, old: &[Process]) -> bool {
        let is_old = |pid: i32| old.iter().any(|process| process.pid == pid);
        let ready = self.apps.iter().map(|app| app.ready).sum::<usize>();
        ready == count
            && self.serving().filter(|replica| replica.pid.is_some_and(|pid| !is_old(pid))).count() == count
            && self.serving().count() == count
    }

    /// As many replicas as are wanted get requests, and there are no others.
    pub fn is_settled(&self, count: usize) -> bool {
        self.serves(count, &[]) && self.replicas.len() == count && self.apps.iter().all(|app| app.waiting.is_empty())
    }

    /// What two statuses must have in common when nothing happened in between: of each replica its id, node, pid and restarts.
    pub fn identities(&self) -> BTreeSet<(String, String, Option<i32>, u32)> {
        self.replicas.iter().map(|replica| (replica.id.clone(), replica.node.clone(), replica.pid, replica.restarts)).collect()
    }

    /// The nodes that are ready, by URL.
    pub fn nodes_ready(&self) -> BTreeSet<&str> {
        self.nodes.iter().filter(|node| node.state == "ready").map(|node| node.url.as_str()).collect()
    }
}
