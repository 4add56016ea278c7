//! The cluster as people see it: apps, nodes, replicas. Derived; nothing is decided by it.

use std::collections::BTreeMap;

use crate::app::AppName;
use crate::health::{CheckReport, Purpose, Standing};
use crate::id::{NodeId, ReplicaId};
use crate::limits::Enforcement;
use crate::node::{NodeState, Observed};
use crate::node_url::NodeUrl;
use crate::now::Now;
use crate::state::ClusterState;
use crate::tree::Tree;
use crate::usage::{HostUsage, Uses};
use crate::wire::{AssignedPhase, ObservedPhase};

/// The whole cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// All apps, by name.
    pub apps: Vec<AppStatus>,
    /// All nodes, in the order in which they were added.
    pub nodes: Vec<NodeStatus>,
    /// All replicas that are there or are about to be, in the order of their ids.
    pub replicas: Vec<ReplicaStatus>,
}

/// An app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppStatus {
    /// Its name.
    pub name: AppName,
    /// Its revision.
    pub revision: u64,
    /// How many replicas there should be.
    pub desired: u32,
    /// How many have a process that runs and is neither draining nor stopping.
    pub running: u32,
    /// How many of those get requests.
    pub ready: u32,
    /// Why what is wanted is not there yet, in sentences.
    pub waiting: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Its agent's URL.
    pub url: NodeUrl,
    /// Its name; the URL's host and port until its agent has said one.
    pub name: String,
    /// How it is.
    pub state: NodeState,
    /// A sentence that goes with the state, or nothing.
    pub detail: String,
    /// How many replicas of the list below are there.
    pub replicas: u32,
    /// Its labels in force.
    pub labels: BTreeMap<String, String>,
    /// How many processors it has; 0 until its agent has said.
    pub cores: u32,
    /// What its host uses, where that is known.
    pub usage: Option<HostUsage>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaStatus {
    /// Its id.
    pub id: ReplicaId,
    /// Of which app.
    pub app: AppName,
    /// Of which revision.
    pub revision: u64,
    /// The URL of its node.
    pub node: NodeUrl,
    /// Where it is in its life.
    pub state: ObservedPhase,
    /// A sentence, or nothing.
    pub detail: String,
    /// It gets requests.
    pub ready: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Its port.
    pub port: Option<u16>,
    /// What its processes are known by, while there is one.
    pub tree: Option<Tree>,
    /// What came of each limit that its spec asks for, and of its sandbox, while there is one.
    pub limits: Enforcement,
    /// How long its process has been running, in seconds.
    pub uptime_seconds: f64,
    /// How often its process was started again in place.
    pub restarts: u32,
    /// How many bytes of its output could not be kept.
    pub log_dropped_bytes: u64,
    /// Its health checks.
    pub checks: Vec<CheckStatus>,
    /// What its processes use, where that is known.
    pub usage: Option<Uses>,
}

/// A health check of a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckStatus {
    /// What people call it.
    pub check: String,
    /// What it decides.
    pub purpose: Purpose,
    /// How it stands.
    pub state: Standing,
    /// For how long, in seconds; one that fails: since its first failure.
    pub seconds: f64,
    /// With what it failed last, if it has not passed since.
    pub error: String,
}

impl ClusterState {
    /// The cluster as people see it.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let replicas = self.replica_statuses(now);
        let mut on_node: BTreeMap<&NodeUrl, u32> = BTreeMap::new();
        let mut running: BTreeMap<&AppName, (u32, u32)> = BTreeMap::new();
        for replica in &replicas {
            *on_node.entry(&replica.node).or_default() += 1;
            let counts = running.entry(&replica.app).or_default();
            counts.0 += u32::from(replica.state == ObservedPhase::Running);
            counts.1 += u32::from(replica.ready);
        }
        let apps = self
            .apps
            .values()
            .map(|app| AppStatus {
                name: app.name.clone(),
                revision: app.revision,
                desired: app.desired,
                running: running.get(&app.name).map_or(0, |counts| counts.0),
                ready: running.get(&app.name).map_or(0, |counts| counts.1),
                waiting: self.waiting.get(&app.name).cloned().unwrap_or_default(),
            })
            .collect();
        let nodes = self
            .nodes
            .values()
            .map(|node| NodeStatus {
                id: node.member.id,
                url: node.member.url.clone(),
                name: node.label(),
                state: node.state(&self.settings, now),
                detail: node.detail(&self.settings, now),
                replicas: on_node.get(&node.member.url).copied().unwrap_or(0),
                labels: node.labels.clone(),
                cores: node.facts.as_ref().map_or(0, |facts| facts.cores),
                usage: node.usage.host(now.mono_ms).filter(|_| !node.is_gone()),
            })
            .collect();
        Status { apps, nodes, replicas }
    }

    /// The node of a member, as people see it.
    #[must_use]
    pub fn node_status(&self, id: NodeId, now: Now) -> Option<NodeStatus> {
        self.status(now).nodes.into_iter().find(|node| node.id == id)
    }

    fn replica_statuses(&self, now: Now) -> Vec<ReplicaStatus> {
        let mut replicas = Vec::new();
        for node in self.nodes.values().filter(|node| !node.is_gone() && node.is_ours()) {
            for seen in node.observed.values().filter(|seen| !seen.is_over()) {
                let report = &seen.report;
                let wanted = self.slots.get(&report.id).map(|slot| slot.phase);
                // What was decided shows at once, before the agent has said that it obeys.
                let state = match (wanted, report.phase) {
                    (Some(AssignedPhase::Drain), ObservedPhase::Starting | ObservedPhase::Running) => ObservedPhase::Draining,
                    (Some(AssignedPhase::Stop) | None, phase) if phase < ObservedPhase::Stopping => ObservedPhase::Stopping,
                    (_, phase) => phase,
                };
                let has_process = report.pid.is_some();
                replicas.push(ReplicaStatus {
                    id: report.id,
                    app: report.app.clone(),
                    revision: report.revision,
                    node: node.member.url.clone(),
                    state,
                    detail: detail(seen, now),
                    checks: check_statuses(seen, now),
                    ready: report.ready && state == ObservedPhase::Running,
                    pid: report.pid,
                    port: report.port,
                    tree: report.tree,
                    limits: report.limits.clone(),
                    uptime_seconds: if has_process { seconds(seen.age_ms(now)) } else { 0.0 },
                    restarts: report.restarts,
                    log_dropped_bytes: report.log_dropped_bytes,
                    usage: node.usage.of(report.id, report.attempt).filter(|_| has_process),
                });
            }
        }
        for (id, slot) in &self.slots {
            let Some(node) = self.nodes.get(&slot.node) else { continue };
            if node.observed.contains_key(id) || slot.phase != AssignedPhase::Run {
                continue;
            }
            replicas.push(ReplicaStatus {
                id: *id,
                app: slot.app.clone(),
                revision: slot.revision,
                node: node.member.url.clone(),
                state: ObservedPhase::Starting,
                detail: "its node has not answered the order to start it yet".to_owned(),
                ready: false,
                pid: None,
                port: None,
                tree: None,
                limits: Enforcement::new(),
                uptime_seconds: 0.0,
                restarts: 0,
                log_dropped_bytes: 0,
                checks: vec![],
                usage: None,
            });
        }
        replicas.sort_by_key(|replica| replica.id);
        replicas
    }
}

/// What its agent says, and of a replica that gets no requests yet or any more, why.
fn detail(seen: &Observed, now: Now) -> String {
    match seen.why_unready(now) {
        // How its last attempt ended is worth more than that this one is young.
        Some(why) if seen.report.phase == ObservedPhase::Running || seen.report.detail.is_empty() => why,
        _ => seen.report.detail.clone(),
    }
}

fn check_statuses(seen: &Observed, now: Now) -> Vec<CheckStatus> {
    let later_ms = now.since_ms(seen.at_ms);
    let status = |check: &CheckReport| CheckStatus {
        check: check.check.clone(),
        purpose: check.purpose,
        state: check.state,
        seconds: seconds(check.age_ms.saturating_add(later_ms)),
        error: check.error.clone(),
    };
    seen.report.checks.iter().map(status).collect()
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
