//! The cluster as `/status` shows it, read tolerantly: a controller of another version may say more.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::client::{Client, Error};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Status {
    /// What should run.
    pub apps: Vec<App>,
    /// Where it can run.
    pub nodes: Vec<Node>,
    /// What runs.
    pub replicas: Vec<Replica>,
}

/// An app.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its revision.
    #[serde(default)]
    pub revision: u64,
    /// How many replicas there should be.
    pub desired: u64,
    /// How many run and are to go on.
    pub running: u64,
    /// How many of those accept connections.
    pub ready: u64,
    /// A sentence for everything that has not happened yet.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Node {
    /// Where its agent is.
    pub url: String,
    /// What it is called.
    #[serde(default)]
    pub name: String,
    /// `ready`, `suspect`, `lost`, ...
    pub state: String,
    /// Why.
    #[serde(default)]
    pub detail: String,
    /// How many replicas it runs.
    #[serde(default)]
    pub replicas: u64,
    /// What is said of its host.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What its host uses.
    #[serde(default)]
    pub usage: Option<HostUsage>,
}

/// A replica.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Its app.
    pub app: String,
    /// The revision that it runs.
    #[serde(default)]
    pub revision: u64,
    /// The URL of its node.
    pub node: String,
    /// `starting`, `running`, `backoff`, ...
    pub state: String,
    /// Why.
    #[serde(default)]
    pub detail: String,
    /// Whether it accepts connections.
    pub ready: bool,
    /// Its first process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its port on its node's loopback.
    #[serde(default)]
    pub port: Option<u16>,
    /// For how long its process has been running.
    #[serde(default)]
    pub uptime_seconds: Option<f64>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u64,
    /// What its processes are known by.
    #[serde(default)]
    pub tree: Option<String>,
    /// What came of each limit.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
    /// What its processes use.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What the processes of a replica use together.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Processor time so far.
    pub cpu_seconds: f64,
    /// Processors that they keep busy.
    pub cpu_cores: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
}

/// What a host uses, by whomever.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostUsage {
    /// Time that its processors were busy.
    pub cpu_seconds: f64,
    /// Processors that are busy.
    pub cpu_cores: f64,
    /// Processors that it has.
    pub cores: u64,
    /// Memory that a new program could not have.
    pub memory_used_bytes: u64,
    /// All of its memory.
    pub memory_bytes: u64,
    /// Its load average over one minute.
    pub load_1m: f64,
    /// How long ago it was started.
    pub uptime_seconds: f64,
}

impl Node {
    /// Its labels, as they are written: `disk=ssd,zone=a`.
    pub fn labels(&self) -> String {
        self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

impl Status {
    /// Asks the controller.
    pub async fn fetch(client: &Client) -> Result<Status, Error> {
        read(client, &client.get("/status").await?.accepted()?)
    }

    /// What a replica's node is called, its URL where it has no name.
    pub fn node_name<'a>(&'a self, replica: &'a Replica) -> &'a str {
        let node = self.nodes.iter().find(|node| node.url == replica.node);
        node.map(|node| node.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(&replica.node)
    }

    /// The replicas on the node at `url`.
    pub fn on<'a>(&'a self, url: &'a str) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(move |replica| replica.node == url)
    }
}

/// Reads a body of the API.
pub fn read<'a, T: Deserialize<'a>>(client: &Client, body: &'a Bytes) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Foreign { url: client.url().clone(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_with_more_and_with_less_than_we_know_is_read() {
        let text = r#"{"apps":[{"name":"worker","revision":1,"desired":4,"running":4,"ready":3,"waiting":["a sentence"],"new":{}}],
            "nodes":[{"id":"1","url":"http://localhost:9091","name":"web-1:9091","state":"ready","detail":"","replicas":2}],
            "replicas":[{"id":"0199","app":"worker","revision":1,"node":"http://localhost:9091","state":"running","detail":"",
             "ready":true,"pid":4211,"port":43121,"uptime_seconds":12.4,"restarts":0},
             {"id":"0200","app":"worker","node":"http://gone","state":"starting","ready":false,"pid":null}]}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.apps[0].waiting, ["a sentence"]);
        assert_eq!(status.node_name(&status.replicas[0]), "web-1:9091");
        assert_eq!(status.node_name(&status.replicas[1]), "http://gone");
        assert_eq!(status.replicas[1].pid, None);
        assert_eq!(status.on("http://localhost:9091").count(), 1);
    }
}
