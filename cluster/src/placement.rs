//! Where the next replica goes: spread, and a sentence when it can go nowhere.
//!
//! Fewest replicas of the app first, then fewest in all, then node order. What runs well is never moved.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::AppName;
use crate::id::NodeId;
use crate::node::{Node, NodeState};
use crate::now::Now;
use crate::settings::Settings;

/// The nodes that may get replicas of one app, with the emptiest first.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// (replicas of the app, replicas in all, node), in the order of preference.
    queue: BTreeSet<(u64, u64, NodeId)>,
    capacity: BTreeMap<NodeId, u64>,
}

/// How many replicas each node has, in all and of each app.
#[derive(Clone, Debug, Default)]
pub struct Load {
    total: BTreeMap<NodeId, u64>,
    of_app: BTreeMap<(AppName, NodeId), u64>,
}

impl Load {
    /// One more.
    pub fn add(&mut self, app: &AppName, node: NodeId) {
        *self.total.entry(node).or_default() += 1;
        *self.of_app.entry((app.clone(), node)).or_default() += 1;
    }

    /// One less.
    pub fn remove(&mut self, app: &AppName, node: NodeId) {
        let less = |count: &mut u64| *count = count.saturating_sub(1);
        self.total.entry(node).and_modify(less);
        self.of_app.entry((app.clone(), node)).and_modify(less);
    }

    /// Replicas in all.
    #[must_use]
    pub fn total(&self, node: NodeId) -> u64 {
        self.total.get(&node).copied().unwrap_or(0)
    }

    /// Replicas of one app.
    #[must_use]
    pub fn of_app(&self, app: &AppName, node: NodeId) -> u64 {
        self.of_app.get(&(app.clone(), node)).copied().unwrap_or(0)
    }
}

impl Candidates {
    /// The eligible nodes among `nodes`.
    pub fn new<'a>(nodes: impl Iterator<Item = (&'a NodeId, &'a Node)>, app: &AppName, load: &Load, settings: &Settings, now: Now) -> Self {
        let mut candidates = Candidates { queue: BTreeSet::new(), capacity: BTreeMap::new() };
        for (id, node) in nodes.filter(|(_, node)| node.is_eligible(settings, now)) {
            candidates.capacity.insert(*id, node.capacity());
            candidates.put(load.of_app(app, *id), load.total(*id), *id);
        }
        candidates
    }

    fn put(&mut self, of_app: u64, total: u64, node: NodeId) {
        if self.capacity.get(&node).is_some_and(|most| total < *most) {
            self.queue.insert((of_app, total, node));
        }
    }

    /// Takes a place on the best node, `but` excepted; `None` when there is none.
    pub fn take(&mut self, but: Option<NodeId>) -> Option<NodeId> {
        let best = self.queue.iter().find(|(_, _, node)| Some(*node) != but).copied()?;
        self.queue.remove(&best);
        let (of_app, total, node) = best;
        self.put(of_app + 1, total + 1, node);
        Some(node)
    }

    /// No node is eligible at all, or each is full.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Why no node takes a replica, in a sentence.
#[must_use]
pub fn why_nowhere<'a>(nodes: impl Iterator<Item = &'a Node>, settings: &Settings, now: Now) -> String {
    let mut not_ready: Vec<String> = Vec::new();
    let mut full = 0;
    let mut count = 0;
    for node in nodes {
        count += 1;
        if node.is_eligible(settings, now) {
            full += 1;
            continue;
        }
        let state = node.state(settings, now);
        not_ready.push(match (&node.refusal, state) {
            (Some(refusal), NodeState::Ready) => format!("{} refuses its assignment: {refusal}", node.member.url),
            _ => format!("{} is {state}", node.member.url),
        });
    }
    if count == 0 {
        return "no node is registered; add one: ostler add-node http://HOST:PORT".to_owned();
    }
    let rest = not_ready.len().saturating_sub(5);
    not_ready.truncate(5);
    let mut list = not_ready.join(", ");
    if rest > 0 {
        list.push_str(&format!(" and {rest} more likewise"));
    }
    match (full, list.is_empty()) {
        (0, _) => format!("no node is ready: {list}"),
        (_, true) => "all nodes are full: by its memory a node takes one replica for every 8 MiB; add a node".to_owned(),
        (_, false) => format!("the nodes that are ready are full (one replica for every 8 MiB of memory), and {list}"),
    }
}
