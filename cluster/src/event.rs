//! What the control loop is told, and what it tells: the whole interface between the core and its shell.

use crate::app::App;
use crate::fence::Held;
use crate::id::NodeId;
use crate::node_url::NodeUrl;
use crate::plan::Plan;
use crate::route::{RouteAck, RoutingTable};
use crate::wire::{Assignment, NodeFacts, ObserveLine, Stamp};

/// A member of the cluster, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Minted at add-node.
    pub id: NodeId,
    /// Where its agent is.
    pub url: NodeUrl,
    /// It was added with `"take_over": true`: its agent may be told to leave the cluster that it listens to, once.
    #[serde(default)]
    pub take_over: bool,
    /// It was removed: a tombstone, until it has acknowledged an empty assignment.
    #[serde(default)]
    pub removed: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The desired state, whole, as the store has it now. The first one after a start tells which nodes must report
    /// before anything is replaced.
    Desired {
        /// All apps.
        apps: Vec<App>,
        /// All members, tombstones too.
        members: Vec<Member>,
    },
    /// An agent answered a dial with its facts, and its stream of observations is about to begin.
    Connected {
        /// Which node.
        node: NodeId,
        /// What it says of itself.
        facts: NodeFacts,
    },
    /// A dial failed.
    DialFailed {
        /// Which node.
        node: NodeId,
        /// Every address refused the connection (RST): nothing listens there.
        refused: bool,
        /// A sentence.
        error: String,
    },
    /// A line of observations.
    Line {
        /// Which node.
        node: NodeId,
        /// What it says.
        line: ObserveLine,
    },
    /// The stream of observations ended, or was cut because nothing came for `lost_after`.
    StreamEnded {
        /// Which node.
        node: NodeId,
        /// A sentence.
        error: String,
    },
    /// An assignment was accepted (202).
    PutAccepted {
        /// Which node.
        node: NodeId,
        /// Which assignment.
        stamp: Stamp,
    },
    /// An assignment was refused as older or foreign (409).
    PutConflict {
        /// Which node.
        node: NodeId,
        /// Which assignment.
        stamp: Stamp,
        /// What the agent has.
        held: Held,
        /// The agent's sentence.
        detail: String,
    },
    /// An assignment was not carried out for another reason: 422, another status, no answer. It is sent again later.
    PutFailed {
        /// Which node.
        node: NodeId,
        /// Which assignment.
        stamp: Stamp,
        /// A sentence.
        error: String,
    },
    /// A consumer of routing tables acknowledged a version, or the requests in flight on what it left out changed.
    RouteAck {
        /// Which consumer.
        consumer: String,
        /// What it acknowledged.
        ack: RouteAck,
    },
    /// The epoch was raised, durably, as [`Effects::raise_epoch_at_least`] asked.
    EpochRaised(u64),
    /// Time passed. Comes every [`crate::settings::Settings::tick_ms`].
    Tick,
}

/// What the shell is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Assignments to send. A node's later one replaces an earlier one that was not sent yet.
    pub assignments: Vec<(NodeId, Assignment)>,
    /// The new routing table, where it changed.
    pub routes: Option<RoutingTable>,
    /// An agent obeys a later epoch than ours: raise it in the store to at least this, while its lock is held, and say
    /// [`Event::EpochRaised`]. Nothing is assigned until then.
    pub raise_epoch_at_least: Option<u64>,
    /// Tombstones that have done their work: delete these members from the store.
    pub forget: Vec<NodeId>,
    /// Nodes that obey this cluster now: clear their `take_over` in the store. It is spent once, or two clusters that were both
    /// told to take a node over would do so in turn for ever.
    pub taken_over: Vec<NodeId>,
    /// What a person should read in the log.
    pub story: Vec<Story>,
    /// The plan that was carried out.
    pub plan: Plan,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Something went wrong.
    pub warn: bool,
    /// A sentence, with names in it.
    pub text: String,
}
