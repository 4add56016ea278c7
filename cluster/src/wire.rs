//! What controller and agent say to each other, as JSON: the assignment, and the observations.
//!
//! Names here are a contract between versions: a field may gain neighbours and never changes. Unknown fields
//! are ignored when read, so that an older side understands a newer one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::{AppName, AppSpec};
use crate::endpoints::Acknowledged;
use crate::health::CheckReport;
use crate::id::{ClusterId, InstanceId, ReplicaId};
use crate::limits::Enforcement;
use crate::tree::Tree;
use crate::usage::Usage;

/// The most bytes of one assignment.
pub const ASSIGNMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of one line of observations.
pub const OBSERVE_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often an agent says that it lives when nothing else is to be said, in milliseconds.
pub const HEARTBEAT_MS: u64 = 500;

/// Which assignment is meant: the later one has the greater stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Raised, durably, at each start of a controller.
    pub epoch: u64,
    /// Counts the assignments of one node within an epoch.
    pub generation: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, generation {}", self.epoch, self.generation)
    }
}

/// Everything that one node should run, whole. A replica that is not in it is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The cluster that speaks. An agent that runs something listens to one cluster only.
    pub cluster: ClusterId,
    /// Which assignment this is.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// Abilities that the agent must have to run this: one that it lacks is a 422.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The same assignment comes again within a third of this, so the agent knows that it is heard.
    pub lease_ms: u64,
    /// Replace the cluster that this agent listens to so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// The specs that `replicas` name, by `app@revision`.
    pub specs: BTreeMap<String, AppSpec>,
    /// The replicas.
    pub replicas: Vec<AssignedReplica>,
}

/// One replica of an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedReplica {
    /// Which replica.
    pub id: ReplicaId,
    /// Of which app.
    pub app: AppName,
    /// Of which revision of that app.
    pub revision: u64,
    /// What the agent is to do with it.
    pub phase: AssignedPhase,
}

impl AssignedReplica {
    /// The key of its spec in [`Assignment::specs`].
    #[must_use]
    pub fn spec_key(&self) -> String {
        spec_key(&self.app, self.revision)
    }
}

/// The key of a spec in [`Assignment::specs`]: `app@revision`.
#[must_use]
pub fn spec_key(app: &AppName, revision: u64) -> String {
    format!("{app}@{revision}")
}

/// What a controller wants of one replica. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssignedPhase {
    /// Keep it running.
    Run,
    /// It gets no new requests; it runs on until what it has is done.
    Drain,
    /// Stop it: SIGTERM, grace, SIGKILL.
    Stop,
}

/// What an agent says of itself at `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `ostler-agent`: how a controller tells an agent from any other HTTP server.
    pub service: String,
    /// The name that people know it by.
    pub name: String,
    /// New at each start of the agent.
    pub instance: InstanceId,
    /// The cluster that it listens to, while it runs anything.
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    /// Its replicas outlive it: a refused dial is no proof that they are gone.
    #[serde(default)]
    pub keep_workers: bool,
    /// Operating system, such as `linux`.
    pub os: String,
    /// Logical processors.
    pub cores: u32,
    /// Memory of the host, in bytes; 0 where it is not known.
    pub memory_bytes: u64,
    /// For constraints on placement.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Version of the agent.
    pub version: String,
}

/// The value of [`NodeFacts::service`].
pub const AGENT_SERVICE: &str = "ostler-agent";

/// One line of `GET /v1/observe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveLine {
    /// The run of the agent that speaks.
    pub instance: InstanceId,
    /// Counts the lines of one stream, from 1.
    pub seq: u64,
    /// The last assignment that was accepted; absent before the first.
    #[serde(default)]
    pub applied: Option<Stamp>,
    /// The cluster that the agent listens to, while it runs anything.
    #[serde(default)]
    pub cluster: Option<ClusterId>,
    /// What is new about usage. A neighbour and no news of its own: a controller that does not know it reads the rest of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What is said: in JSON one of the fields `snapshot`, `replica`, `heartbeat`, `leaving`, `routes`.
    #[serde(flatten)]
    pub news: News,
}

/// What one line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum News {
    /// All replicas of the node, whole. The first line of each stream.
    Snapshot(Snapshot),
    /// One replica changed.
    Replica(ReplicaReport),
    /// The agent lives.
    Heartbeat(Heartbeat),
    /// The agent was asked to end: replacements, please.
    Leaving(Leaving),
    /// What its balancer works by changed, or the requests that it has under way on what it left out. Only an agent that was told
    /// endpoints says it.
    Routes(Acknowledged),
}

/// All replicas of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The replicas whose processes are there, or will be again.
    pub replicas: Vec<ReplicaReport>,
    /// The agent was asked to end.
    #[serde(default)]
    pub leaving: bool,
    /// What its balancer works by; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Acknowledged>,
}

/// Nothing but a sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {}

/// The agent says goodbye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// It goes after so long even if its replicas have not been replaced, in milliseconds.
    pub within_ms: u64,
}

/// What an agent sees of one replica. `(attempt, phase)` only moves forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Which replica.
    pub id: ReplicaId,
    /// Of which app.
    pub app: AppName,
    /// Of which revision.
    pub revision: u64,
    /// Counts the starts of its process, from 1.
    pub attempt: u32,
    /// Where it is in its life.
    pub phase: ObservedPhase,
    /// Requests may go to it.
    pub ready: bool,
    /// Its process, while there is one.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its port on the loopback address of its host, while there is a process.
    #[serde(default)]
    pub port: Option<u16>,
    /// What its processes are known by, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// What came of each limit that its spec asks for, and of its sandbox, while there is a process.
    #[serde(default, skip_serializing_if = "Enforcement::is_empty")]
    pub limits: Enforcement,
    /// How long its process has been running, in milliseconds: an age, so that no two clocks need agree.
    #[serde(default)]
    pub age_ms: u64,
    /// How often its process was started again.
    #[serde(default)]
    pub restarts: u32,
    /// Failures in a row: 0 once it has been ready for a while.
    #[serde(default)]
    pub failures: u32,
    /// A sentence, where there is something to say: why it does not run, its last words.
    #[serde(default)]
    pub detail: String,
    /// How many bytes of its output could not be kept, since its agent has it.
    #[serde(default)]
    pub log_dropped_bytes: u64,
    /// Its process has ended and its policy wants no other: it is stopped, and stays in the list until it is told to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finished: bool,
    /// How its checks stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckReport>,
}

/// Where a replica is in its life, in the order in which one attempt passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObservedPhase {
    /// Its process is being started, or does not accept connections yet.
    Starting,
    /// It accepts connections.
    Running,
    /// It runs, and gets no new requests.
    Draining,
    /// Its process ended; the next attempt waits for its time.
    Backoff,
    /// It was told to end.
    Stopping,
    /// Its process has ended and it will not be started again: the last that is said of it, unless it is `finished`.
    Stopped,
}

impl fmt::Display for ObservedPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ObservedPhase::Starting => "starting",
            ObservedPhase::Running => "running",
            ObservedPhase::Draining => "draining",
            ObservedPhase::Stopping => "stopping",
            ObservedPhase::Backoff => "backoff",
            ObservedPhase::Stopped => "stopped",
        })
    }
}
