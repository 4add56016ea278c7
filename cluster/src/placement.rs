//! Where the next replica goes: what an app asks of its nodes, spread, and a sentence when it can go nowhere.
//!
//! Of the nodes that are eligible and for which every constraint of the app holds: the value of the spread label with the fewest replicas
//! of the app first, then the node with the fewest of them, then the one with the fewest in all, then node order. What runs well is
//! never moved: a constraint is asked when a replica is placed, and not again.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::{App, AppName};
use crate::constraint::Constraint;
use crate::id::NodeId;
use crate::node::{Node, NodeState};
use crate::now::Now;
use crate::settings::Settings;
use crate::state::ClusterState;

/// The nodes that may get replicas of one app, with the emptiest first.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// Those with one value of the spread label; all of them where replicas are not spread over one.
    groups: Vec<Group>,
    /// The groups that have a node left, in the order of preference.
    order: BTreeSet<(u64, Rank, usize)>,
    /// How many more replicas of the app each node takes, and which group it is in.
    places: BTreeMap<NodeId, (u64, usize)>,
}

/// (replicas of the app, replicas in all, node), in the order of preference.
type Rank = (u64, u64, NodeId);

#[derive(Clone, Debug, Default)]
struct Group {
    /// Replicas of the app on all its nodes, on those as well that take no more.
    count: u64,
    queue: BTreeSet<Rank>,
}

/// How many replicas each node has, in all and of each app.
#[derive(Clone, Debug, Default)]
pub struct Load {
    total: BTreeMap<NodeId, u64>,
    of_app: BTreeMap<(AppName, NodeId), u64>,
    /// The same, with those that were let go in this plan: they are there until they have ended.
    present: BTreeMap<(AppName, NodeId), u64>,
}

impl Load {
    /// One more.
    pub fn add(&mut self, app: &AppName, node: NodeId) {
        *self.total.entry(node).or_default() += 1;
        *self.of_app.entry((app.clone(), node)).or_default() += 1;
        *self.present.entry((app.clone(), node)).or_default() += 1;
    }

    /// One less that counts; it is still there.
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

    /// How many more replicas of an app a node takes.
    fn places(&self, app: &App, id: NodeId, node: &Node) -> u64 {
        let by_memory = node.capacity().saturating_sub(self.total(id));
        let present = || self.present.get(&(app.name.clone(), id)).copied().unwrap_or(0);
        let by_app = app.placement.max_per_node.map(|most| u64::from(most).saturating_sub(present()));
        by_app.map_or(by_memory, |by_app| by_app.min(by_memory))
    }
}

/// Whether an app may be placed on a node, by its labels.
#[must_use]
pub fn fits(app: &App, node: &Node) -> bool {
    app.placement.constraints.iter().all(|constraint| constraint.holds(&node.labels))
}

/// The value of the label over which an app is spread. Nodes without the label are together.
#[must_use]
pub fn spread_value<'a>(app: &App, node: &'a Node) -> Option<&'a str> {
    node.labels.get(app.placement.spread.as_ref()?).map(String::as_str)
}

impl Candidates {
    /// The nodes that may get replicas of `app`. `staying`: where it has replicas that are to run on.
    #[must_use]
    pub fn new(state: &ClusterState, app: &App, load: &Load, staying: impl Iterator<Item = NodeId>, now: Now) -> Self {
        let mut candidates = Candidates { groups: Vec::new(), order: BTreeSet::new(), places: BTreeMap::new() };
        let mut by_value: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (id, node) in state.nodes.iter().filter(|(_, node)| node.is_eligible(&state.settings, now) && fits(app, node)) {
            let group = *by_value.entry(spread_value(app, node)).or_insert_with(|| {
                candidates.groups.push(Group::default());
                candidates.groups.len() - 1
            });
            candidates.places.insert(*id, (load.places(app, *id, node), group));
            candidates.put((load.of_app(&app.name, *id), load.total(*id), *id));
        }
        if app.placement.spread.is_some() {
            for node in staying.filter_map(|id| state.nodes.get(&id)) {
                if let Some(group) = by_value.get(&spread_value(app, node)).and_then(|group| candidates.groups.get_mut(*group)) {
                    group.count += 1;
                }
            }
        }
        candidates.order = (0..candidates.groups.len()).filter_map(|group| candidates.key(group)).collect();
        candidates
    }

    /// Where a group stands in the order; nowhere, once it has no node left.
    fn key(&self, group: usize) -> Option<(u64, Rank, usize)> {
        let Group { count, queue } = self.groups.get(group)?;
        queue.first().map(|rank| (*count, *rank, group))
    }

    fn put(&mut self, rank: Rank) {
        if let Some((1.., group)) = self.places.get(&rank.2)
            && let Some(group) = self.groups.get_mut(*group)
        {
            group.queue.insert(rank);
        }
    }

    /// Changes a group, and where it stands.
    fn change(&mut self, group: usize, change: impl FnOnce(&mut Self)) {
        if let Some(key) = self.key(group) {
            self.order.remove(&key);
        }
        change(self);
        self.order.extend(self.key(group));
    }

    /// Takes a place on the best node; `None` when there is none.
    pub fn take(&mut self) -> Option<NodeId> {
        self.take_but(None)
    }

    /// Takes a place in exchange for one on `node`, and on another one; `None` when there is none.
    pub fn take_for(&mut self, node: NodeId) -> Option<NodeId> {
        let group = self.places.get(&node).map(|(_, group)| *group);
        let count = |by: fn(u64) -> u64| {
            move |candidates: &mut Self| {
                if let Some(group) = group.and_then(|group| candidates.groups.get_mut(group)) {
                    group.count = by(group.count);
                }
            }
        };
        if let Some(group) = group {
            self.change(group, count(|count| count.saturating_sub(1)));
        }
        let taken = self.take_but(Some(node));
        if let Some(group) = group.filter(|_| taken.is_none()) {
            self.change(group, count(|count| count + 1));
        }
        taken
    }

    fn take_but(&mut self, but: Option<NodeId>) -> Option<NodeId> {
        let groups = &self.groups;
        let best = |(_, _, group): &(u64, Rank, usize)| {
            let rank = groups.get(*group)?.queue.iter().find(|(_, _, node)| Some(*node) != but);
            rank.map(|rank| (*rank, *group))
        };
        let (rank, group) = self.order.iter().find_map(best)?;
        self.change(group, |candidates| {
            let (of_app, total, node) = rank;
            if let Some(group) = candidates.groups.get_mut(group) {
                group.queue.remove(&rank);
                group.count += 1;
            }
            if let Some((places, _)) = candidates.places.get_mut(&node) {
                *places = places.saturating_sub(1);
            }
            candidates.put((of_app + 1, total + 1, node));
        });
        Some(rank.2)
    }

    /// No node is eligible at all, or each is full.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Why no node takes a replica of an app, in a sentence. `load`: what is on the nodes.
#[must_use]
pub fn why_nowhere(state: &ClusterState, app: &App, load: &Load, now: Now) -> String {
    let (settings, constraints) = (&state.settings, &app.placement.constraints);
    let members: Vec<&Node> = state.nodes.values().filter(|node| !node.member.removed).collect();
    if members.is_empty() {
        return "no node is registered; add one: ostler add-node http://HOST:PORT".to_owned();
    }
    let fitting: Vec<&Node> = members.iter().copied().filter(|node| fits(app, node)).collect();
    // What the labels of a node are is known once its agent was heard, or where an operator has said it.
    let unknown = members.iter().copied().filter(|node| node.facts.is_none() && !fits(app, node));
    let (full, absent): (Vec<&Node>, Vec<&Node>) = fitting.into_iter().partition(|node| node.is_eligible(settings, now));
    let others = listed(absent.iter().copied().chain(unknown).map(|node| not_ready(node, settings, now)).collect());
    let and_others = if others.is_empty() { String::new() } else { format!(", and {others}") };
    let with = if constraints.is_empty() { String::new() } else { format!(" with {}", joined(constraints)) };
    if full.is_empty() {
        return match (absent.is_empty(), with.is_empty()) {
            (true, _) => format!("{}{and_others}", no_node_fits(&members, constraints)),
            (false, true) => format!("no node is ready: {others}"),
            (false, false) => format!("no node{with} is ready: {others}"),
        };
    }
    let most = app.placement.max_per_node.map_or(u64::MAX, u64::from);
    let present = |node: &&Node| load.present.get(&(app.name.clone(), node.member.id)).copied().unwrap_or(0);
    if full.iter().all(|node| present(node) >= most) {
        let nodes = match (full.len(), with.is_empty()) {
            (1, true) => "the one node that is ready has".to_owned(),
            (1, false) => format!("the one node{with} that is ready has"),
            (count, true) => format!("all {count} nodes that are ready have"),
            (count, false) => format!("all {count} nodes{with} that are ready have"),
        };
        return format!("{nodes} {most} of {most} replicas of {} already{and_others}", app.name);
    }
    match (with.is_empty() && most == u64::MAX, others.is_empty()) {
        (true, true) => "all nodes are full: by its memory a node takes one replica for every 8 MiB; add a node".to_owned(),
        (true, false) => format!("the nodes that are ready are full (one replica for every 8 MiB of memory), and {others}"),
        (false, _) => {
            let each = if most == u64::MAX { String::new() } else { format!(", or has {most} of {most} replicas of {} already", app.name) };
            format!("each node{with} that is ready is full (one replica for every 8 MiB of memory){each}{and_others}")
        }
    }
}

/// Why a node takes nothing now.
fn not_ready(node: &Node, settings: &Settings, now: Now) -> String {
    match (&node.refusal, node.state(settings, now)) {
        (Some(refusal), NodeState::Ready) => format!("{} refuses its assignment: {refusal}", node.member.url),
        (_, state) => format!("{} is {state}", node.member.url),
    }
}

/// The first few of them.
fn listed(mut sentences: Vec<String>) -> String {
    let rest = sentences.len().saturating_sub(5);
    sentences.truncate(5);
    let mut list = sentences.join(", ");
    if rest > 0 {
        list.push_str(&format!(" and {rest} more likewise"));
    }
    list
}

fn joined(constraints: &[Constraint]) -> String {
    constraints.iter().map(Constraint::to_string).collect::<Vec<_>>().join(" and ")
}

/// What no node of these has.
fn no_node_fits(nodes: &[&Node], constraints: &[Constraint]) -> String {
    let unmet = constraints.iter().find(|constraint| !nodes.iter().any(|node| constraint.holds(&node.labels)));
    match unmet {
        Some(Constraint::Is { key, value }) => format!("no node has label {key}={value}"),
        Some(Constraint::Has(key)) => format!("no node has a label {key}"),
        Some(Constraint::IsNot { key, value }) => format!("every node has label {key}={value}"),
        Some(Constraint::HasNot(key)) => format!("every node has a label {key}"),
        None => format!("no node has {} together", joined(constraints)),
    }
}

#[cfg(test)]
mod tests;
