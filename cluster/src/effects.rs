//! What the control loop tells its shell to do.

use crate::app::AppName;
use crate::endpoints::Endpoints;
use crate::id::NodeId;
use crate::plan::Plan;
use crate::route::RoutingTable;
use crate::wire::Assignment;

/// What the shell is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Assignments to send. A node's later one replaces an earlier one that was not sent yet.
    pub assignments: Vec<(NodeId, Assignment)>,
    /// Endpoints to send, in the same way.
    pub endpoints: Vec<(NodeId, Endpoints)>,
    /// The new routing table, where it changed.
    pub routes: Option<RoutingTable>,
    /// An agent obeys a later epoch than ours: raise it in the store to at least this, while its lock is held, and say
    /// [`crate::Event::EpochRaised`]. Nothing is assigned until then.
    pub raise_epoch_at_least: Option<u64>,
    /// Tombstones that have done their work: delete these members from the store.
    pub forget: Vec<NodeId>,
    /// Apps that were deleted, and of which no node has anything any more: delete them from the store.
    pub forget_apps: Vec<AppName>,
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
