//! What the control loop is told. What it tells is in `effects`: the two are the whole interface between the core and its shell.

use crate::app::App;
use crate::fence::Held;
use crate::id::NodeId;
use crate::member::Member;
use crate::route::RouteAck;
use crate::wire::{NodeFacts, ObserveLine, Stamp};

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
    /// The epoch was raised, durably, as [`crate::Effects::raise_epoch_at_least`] asked.
    EpochRaised(u64),
    /// Time passed. Comes every [`crate::settings::Settings::tick_ms`].
    Tick,
}
