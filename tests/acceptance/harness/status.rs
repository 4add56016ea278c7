//! `/status`, as the contract has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Status {
    pub apps: Vec<App>,
    pub nodes: Vec<Node>,
    pub replicas: Vec<Replica>,
    pub source: Option<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct App {
    pub name: String,
    pub revision: u64,
    pub desired: u64,
    pub running: u64,
    pub ready: u64,
    pub waiting: Vec<String>,
    pub count_from: String,
    pub source: String,
    pub source_error: String,
    pub deleting: bool,
}

/// The app source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Source {
    pub url: String,
    pub error: String,
    pub files: u64,
    pub errors: Vec<SourceError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SourceError {
    pub file: String,
    pub app: Option<String>,
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Node {
    pub id: String,
    pub url: String,
    pub name: String,
    pub state: String,
    pub detail: String,
    pub replicas: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Replica {
    pub id: String,
    pub app: String,
    pub revision: u64,
    pub node: String,
    pub state: String,
    pub detail: String,
    pub ready: bool,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub tree: Option<String>,
    pub limits: std::collections::BTreeMap<String, String>,
    pub uptime_seconds: f64,
    pub restarts: u64,
    pub log_dropped_bytes: u64,
}

impl Status {
    /// The app of the original description.
    pub fn worker(&self) -> &App {
        self.apps.iter().find(|app| app.name == "worker").expect("no app \"worker\"")
    }

    /// An app.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// Why the app source cannot be read; empty when it can.
    pub fn source_error(&self) -> &str {
        self.source.as_ref().map_or("", |source| &source.error)
    }

    pub fn node(&self, url: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.url == url)
    }

    pub fn node_state(&self, url: &str) -> &str {
        self.node(url).map_or("absent", |node| &node.state)
    }

    /// Exactly `count` replicas exist, all of them running and ready.
    pub fn has_settled(&self, count: usize) -> bool {
        let app = self.worker();
        let fits = |number: u64| number == count as u64;
        fits(app.desired)
            && fits(app.running)
            && fits(app.ready)
            && self.replicas.len() == count
            && self.replicas.iter().all(|replica| replica.ready)
    }

    pub fn on<'a>(&'a self, url: &'a str) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(move |replica| replica.node == url)
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.replicas.iter().map(|replica| replica.id.clone()).collect()
    }

    /// Which process each replica is.
    pub fn pids(&self) -> BTreeMap<String, Option<u32>> {
        self.replicas.iter().map(|replica| (replica.id.clone(), replica.pid)).collect()
    }
}
