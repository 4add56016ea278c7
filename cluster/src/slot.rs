//! A slot: one replica that the control loop means to exist, on one node. All slots of a node make up its assignment.

use crate::app::AppName;
use crate::id::NodeId;
use crate::wire::{AssignedPhase, Stamp};

/// One replica, as it was decided. What the agent sees of it is not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Of which app.
    pub app: AppName,
    /// Of which revision.
    pub revision: u64,
    /// On which node.
    pub node: NodeId,
    /// What is wanted of it.
    pub phase: AssignedPhase,
    /// It stands in for one that kept failing elsewhere, and is not re-placed again.
    pub moved: bool,
    /// When it began to drain, in monotonic milliseconds.
    pub drain_at_ms: Option<u64>,
    /// The first version of the routing table that does not have it, once it drains.
    pub unrouted_since: Option<u64>,
    /// The first assignment that told its agent to stop it.
    pub stop_sent: Option<Stamp>,
}

impl Slot {
    /// A slot that is to run.
    #[must_use]
    pub fn run(app: AppName, revision: u64, node: NodeId) -> Self {
        Slot { app, revision, node, phase: AssignedPhase::Run, moved: false, drain_at_ms: None, unrouted_since: None, stop_sent: None }
    }
}
