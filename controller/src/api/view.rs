//! What the API shows. Names are a contract: a field may gain neighbours and never changes.

use std::collections::BTreeMap;

use cluster::node::NodeState;
use cluster::wire::ObservedPhase;
use cluster::{health, status};
use serde::Serialize;
use utoipa::ToSchema;

use super::usage::{NodeUsage, Usage};

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// All apps, by name.
    pub apps: Vec<App>,
    /// All nodes, in the order in which they were added.
    pub nodes: Vec<Node>,
    /// All replicas that are there or are about to be, in the order of their ids.
    pub replicas: Vec<Replica>,
}

/// All apps.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Apps {
    /// By name.
    pub apps: Vec<App>,
}

/// All nodes.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Nodes {
    /// In the order in which they were added.
    pub nodes: Vec<Node>,
}

/// All replicas.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Replicas {
    /// In the order of their ids.
    pub replicas: Vec<Replica>,
}

/// An app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct App {
    /// Its name.
    #[schema(example = "worker")]
    pub name: String,
    /// Grows with every change of how it is run.
    #[schema(example = 1)]
    pub revision: u64,
    /// How many replicas there should be.
    #[schema(example = 4)]
    pub desired: u32,
    /// How many have a process that runs, neither draining nor stopping.
    #[schema(example = 4)]
    pub running: u32,
    /// How many of those get requests.
    #[schema(example = 4)]
    pub ready: u32,
    /// Why what is wanted is not there yet, in sentences.
    pub waiting: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Node {
    /// Minted when it was added.
    pub id: String,
    /// Its agent's URL.
    #[schema(example = "http://localhost:9091")]
    pub url: String,
    /// Its name; the URL's host and port until its agent has said one.
    #[schema(example = "web-1:9091")]
    pub name: String,
    /// How it is.
    pub state: State,
    /// A sentence that goes with the state, or nothing.
    pub detail: String,
    /// How many replicas are there.
    #[schema(example = 2)]
    pub replicas: u32,
    /// Its labels in force: those that were set here win over those that its agent has from its own command line.
    #[schema(example = json!({"zone": "a"}))]
    pub labels: BTreeMap<String, String>,
    /// What its host uses; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<NodeUsage>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Replica {
    /// Its id, which a restart in place keeps.
    pub id: String,
    /// Of which app.
    #[schema(example = "worker")]
    pub app: String,
    /// Of which revision of that app.
    #[schema(example = 1)]
    pub revision: u64,
    /// The URL of its node.
    #[schema(example = "http://localhost:9091")]
    pub node: String,
    /// Where it is in its life.
    pub state: Phase,
    /// A sentence, or nothing: why it does not run, its last words.
    pub detail: String,
    /// It gets requests.
    pub ready: bool,
    /// Its process, while there is one.
    #[schema(example = 4211)]
    pub pid: Option<u32>,
    /// Its port on the loopback address of its host, while there is a process.
    #[schema(example = 43121)]
    pub port: Option<u16>,
    /// What its processes are known by, while there is one.
    pub tree: Option<Tree>,
    /// What came of each limit that its app asks for, by name, and of its `sandbox`: `enforced`, which may be followed by how, or `not enforced: ` and why.
    pub limits: BTreeMap<String, String>,
    /// How long its process has been running.
    #[schema(example = 12.4)]
    pub uptime_seconds: f64,
    /// How often its process was started again in place.
    #[schema(example = 0)]
    pub restarts: u32,
    /// How many bytes of its output its node could not keep.
    #[schema(example = 0)]
    pub log_dropped_bytes: u64,
    /// Its health checks.
    pub checks: Vec<Check>,
    /// What its processes use; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What holds the processes of a replica together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// A cgroup of its own: all of them end at once, and none can hide.
    Cgroup,
    /// Descent, session and environment, as far as they show.
    Session,
}

/// A health check of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Check {
    /// What it asks.
    #[schema(example = "http /healthz")]
    pub check: String,
    /// What it decides: whether the replica gets requests, whether it is started again, or both.
    #[serde(rename = "for")]
    pub purpose: Purpose,
    /// How it stands.
    pub state: Standing,
    /// For how long it has stood so, in seconds; one that fails: since its first failure.
    #[schema(example = 12.4)]
    pub seconds: f64,
    /// With what it failed last, if it has not passed since.
    #[schema(example = "answered 503 (200-399 passes)")]
    pub error: String,
}

/// What a health check decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CheckPurpose)]
pub enum Purpose {
    /// Whether the replica gets requests.
    Readiness,
    /// Whether it is ended and started again.
    Liveness,
    /// Both.
    Both,
}

/// How a health check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CheckState)]
pub enum Standing {
    /// It has neither passed nor failed for good.
    Waiting,
    /// It passes.
    Passing,
    /// It fails.
    Failing,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = NodeState)]
pub enum State {
    /// Not dialled yet, or no report yet.
    Connecting,
    /// Its lines arrive.
    Ready,
    /// Silent for a moment: last choice for requests, and gets nothing new.
    Suspect,
    /// Taken for dead: its replicas are replaced.
    Lost,
    /// On its way out: its replicas are replaced before they stop.
    Draining,
    /// Went after a goodbye.
    Left,
    /// Never answered.
    Unreachable,
    /// Listens to another cluster.
    Foreign,
    /// Another member by another URL.
    Duplicate,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReplicaState)]
pub enum Phase {
    /// Its process is being started, or does not accept connections yet.
    Starting,
    /// It accepts connections.
    Running,
    /// It finishes its requests, and gets no new ones.
    Draining,
    /// It was told to end.
    Stopping,
    /// Its process ended, or is being ended because a check failed; the next start waits for its time.
    Backoff,
    /// Its process has ended, and its restart policy wants no other.
    Stopped,
}

/// Which program, and which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Version {
    /// The controller's version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The cluster's id.
    pub cluster: String,
}

/// The controller lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `ok`: the control loop answers.
    #[schema(example = "ok")]
    pub status: &'static str,
}

impl From<status::Status> for Status {
    fn from(status: status::Status) -> Self {
        Status {
            apps: status.apps.into_iter().map(App::from).collect(),
            nodes: status.nodes.into_iter().map(Node::from).collect(),
            replicas: status.replicas.into_iter().map(Replica::from).collect(),
        }
    }
}

impl From<status::AppStatus> for App {
    fn from(app: status::AppStatus) -> Self {
        App {
            name: app.name.to_string(),
            revision: app.revision,
            desired: app.desired,
            running: app.running,
            ready: app.ready,
            waiting: app.waiting,
        }
    }
}

impl From<status::NodeStatus> for Node {
    fn from(node: status::NodeStatus) -> Self {
        Node {
            id: node.id.to_string(),
            url: node.url.to_string(),
            name: node.name,
            state: node.state.into(),
            detail: node.detail,
            replicas: node.replicas,
            labels: node.labels,
            usage: node.usage.map(|usage| NodeUsage::new(usage, node.cores)),
        }
    }
}

impl From<status::ReplicaStatus> for Replica {
    fn from(replica: status::ReplicaStatus) -> Self {
        Replica {
            id: replica.id.to_string(),
            app: replica.app.to_string(),
            revision: replica.revision,
            node: replica.node.to_string(),
            state: replica.state.into(),
            detail: replica.detail,
            ready: replica.ready,
            pid: replica.pid,
            port: replica.port,
            tree: replica.tree.map(Into::into),
            limits: replica.limits,
            uptime_seconds: replica.uptime_seconds,
            restarts: replica.restarts,
            log_dropped_bytes: replica.log_dropped_bytes,
            checks: replica.checks.into_iter().map(Check::from).collect(),
            usage: replica.usage.map(Usage::from),
        }
    }
}

impl From<cluster::tree::Tree> for Tree {
    fn from(tree: cluster::tree::Tree) -> Self {
        match tree {
            cluster::tree::Tree::Cgroup => Tree::Cgroup,
            cluster::tree::Tree::Session => Tree::Session,
        }
    }
}

impl From<status::CheckStatus> for Check {
    fn from(check: status::CheckStatus) -> Self {
        Check {
            check: check.check,
            purpose: match check.purpose {
                health::Purpose::Readiness => Purpose::Readiness,
                health::Purpose::Liveness => Purpose::Liveness,
                health::Purpose::Both => Purpose::Both,
            },
            state: match check.state {
                health::Standing::Waiting => Standing::Waiting,
                health::Standing::Passing => Standing::Passing,
                health::Standing::Failing => Standing::Failing,
            },
            seconds: check.seconds,
            error: check.error,
        }
    }
}

impl From<NodeState> for State {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Connecting => State::Connecting,
            NodeState::Ready => State::Ready,
            NodeState::Suspect => State::Suspect,
            NodeState::Lost => State::Lost,
            NodeState::Draining => State::Draining,
            NodeState::Left => State::Left,
            NodeState::Unreachable => State::Unreachable,
            NodeState::Foreign => State::Foreign,
            NodeState::Duplicate => State::Duplicate,
        }
    }
}

impl From<ObservedPhase> for Phase {
    fn from(phase: ObservedPhase) -> Self {
        match phase {
            ObservedPhase::Starting => Phase::Starting,
            ObservedPhase::Running => Phase::Running,
            ObservedPhase::Draining => Phase::Draining,
            ObservedPhase::Stopping => Phase::Stopping,
            ObservedPhase::Stopped => Phase::Stopped,
            ObservedPhase::Backoff => Phase::Backoff,
        }
    }
}
