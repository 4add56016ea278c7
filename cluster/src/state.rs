//! The whole of what a control loop knows: what is wanted, what is seen, and what it has decided.
//!
//! [`ClusterState::observe`] (in `observe`) takes in what happened; [`ClusterState::decide`] (in `decide`) makes a plan, carries it
//! out on this state, and says what the shell is to do.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::{App, AppName};
use crate::effects::Story;
use crate::id::{ClusterId, NodeId, ReplicaId};
use crate::liveness::{Blackout, Contact};
use crate::node::{Node, NodeState, Observed};
use crate::now::Now;
use crate::route::{RouteAck, RoutingTable};
use crate::settings::Settings;
use crate::slot::Slot;

/// What a control loop knows. One writer: the loop.
#[derive(Clone, Debug)]
pub struct ClusterState {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The epoch in which this controller writes.
    pub epoch: u64,
    /// An agent obeys this later epoch; nothing is assigned until ours was raised above it.
    pub superseded_by: Option<u64>,
    /// The epoch was raised above a later one already. Overtaken again, this controller stands down: another controller of the same
    /// cluster is at work, and one of the two must give way.
    pub has_raised: bool,
    /// Durations.
    pub settings: Settings,
    /// What is wanted.
    pub apps: BTreeMap<AppName, App>,
    /// The members, and what was heard of them.
    pub nodes: BTreeMap<NodeId, Node>,
    /// What was decided.
    pub slots: BTreeMap<ReplicaId, Slot>,
    /// What consumers of routing tables acknowledged.
    pub acks: BTreeMap<String, RouteAck>,
    /// The routing table as it stands.
    pub table: RoutingTable,
    /// Set while the controller itself may be cut off.
    pub blackout: Option<Blackout>,
    /// Why what is wanted is not there yet, by app: from the last plan.
    pub waiting: BTreeMap<AppName, Vec<String>>,
    /// The desired state was given once.
    pub(crate) started: bool,
    pub(crate) ticked_at_ms: u64,
    pub(crate) story: Vec<Story>,
    /// What was told of each node and app last, so that a change is told once.
    pub(crate) told_nodes: BTreeMap<NodeId, NodeState>,
    pub(crate) told_ready: BTreeMap<AppName, (u32, u32)>,
}

impl ClusterState {
    /// A controller that has just started.
    #[must_use]
    pub fn new(cluster: ClusterId, epoch: u64, settings: Settings, now: Now) -> Self {
        ClusterState {
            cluster,
            epoch,
            superseded_by: None,
            has_raised: false,
            settings,
            apps: BTreeMap::new(),
            nodes: BTreeMap::new(),
            slots: BTreeMap::new(),
            acks: BTreeMap::new(),
            table: RoutingTable { epoch, ..RoutingTable::default() },
            blackout: Some(Blackout::default()),
            waiting: BTreeMap::new(),
            started: false,
            ticked_at_ms: now.mono_ms,
            story: Vec::new(),
            told_nodes: BTreeMap::new(),
            told_ready: BTreeMap::new(),
        }
    }

    /// What the agent said last of a slot's replica.
    #[must_use]
    pub fn seen(&self, id: ReplicaId, slot: &Slot) -> Option<&Observed> {
        self.nodes.get(&slot.node).and_then(|node| node.observed.get(&id))
    }

    /// Whether requests may go to a slot's replica, by what its agent said.
    #[must_use]
    pub fn is_ready(&self, id: ReplicaId, slot: &Slot) -> bool {
        self.seen(id, slot).is_some_and(|seen| seen.report.ready)
    }

    /// Another controller of this cluster has overtaken this one more than once: nothing is assigned any more.
    #[must_use]
    pub fn stands_down(&self) -> bool {
        self.has_raised && self.superseded_by.is_some()
    }

    /// The members whose stream is not open: one of them may have come back since it was dialled last.
    #[must_use]
    pub fn unheard(&self) -> BTreeSet<NodeId> {
        let unheard = |node: &&Node| !matches!(node.contact, Contact::Up { .. });
        self.nodes.values().filter(unheard).map(|node| node.member.id).collect()
    }

    pub(crate) fn tell(&mut self, warn: bool, text: String) {
        self.story.push(Story { warn, text });
    }
}
