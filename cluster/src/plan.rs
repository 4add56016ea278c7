//! What to do next: a pure function of everything that is known, with a reason for every action.
//!
//! Absent from here: carrying it out (`decide`), and choosing a node (`placement`). The order of the passes is the policy: what is
//! gone is let go, what is found is adopted, what is too much drains, what is missing starts, what has drained stops.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::{App, AppName};
use crate::id::{IdSource, NodeId, ReplicaId};
use crate::node::{Node, Observed};
use crate::now::Now;
use crate::placement::{Candidates, Load, fits, spread_value, why_nowhere};
use crate::shrink::{Standing, first_to_go};
use crate::slot::Slot;
use crate::state::ClusterState;
use crate::wire::{AssignedPhase, ObservedPhase};

/// After so many failures in a row a replica is tried on another node, once, if its app runs well elsewhere.
pub const FAILURES_BEFORE_MOVE: u32 = 5;

/// What to do, in order, and why the rest has to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<Action>,
    /// For each app, in sentences, why what is wanted is not there yet.
    pub waiting: BTreeMap<AppName, Vec<String>>,
    /// For each app, how many replicas beyond the desired count the plan allows: those on nodes that go, until others are ready
    /// in their place.
    pub surge: BTreeMap<AppName, u32>,
}

/// One action, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which replica.
    pub replica: ReplicaId,
    /// Of which app.
    pub app: AppName,
    /// On which node.
    pub node: NodeId,
    /// What.
    pub kind: ActionKind,
    /// Why, in words that follow "because".
    pub reason: String,
}

/// What can be done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// It is no longer counted: it is gone, or its node is.
    Forget,
    /// It runs already: take it as one of ours, in this phase.
    Adopt {
        /// Of which revision it is.
        revision: u64,
        /// In which phase.
        phase: AssignedPhase,
    },
    /// A new one.
    Start {
        /// Of which revision.
        revision: u64,
        /// It stands in for one that keeps failing on another node.
        moved: bool,
    },
    /// No new requests for it.
    Drain,
    /// Its processes are ended.
    Stop,
}

/// The plan for this state. It draws an id for every replica that it starts, and changes nothing.
#[must_use]
pub fn plan(state: &ClusterState, now: Now, ids: &mut dyn IdSource) -> Plan {
    let mut planner = Planner { state, now, slots: state.slots.clone(), load: Load::default(), lost: Vec::new(), plan: Plan::default() };
    planner.forget();
    for slot in planner.slots.values() {
        planner.load.add(&slot.app, slot.node);
    }
    planner.adopt();
    planner.follow();
    for app in state.apps.values() {
        planner.app(app, ids);
    }
    planner.stop();
    planner.plan
}

struct Planner<'a> {
    state: &'a ClusterState,
    now: Now,
    /// The slots as they will be once the actions so far are carried out.
    slots: BTreeMap<ReplicaId, Slot>,
    load: Load,
    /// What has just been let go although it was to run, and where it was.
    lost: Vec<(AppName, NodeId)>,
    plan: Plan,
}

impl Planner<'_> {
    fn push(&mut self, replica: ReplicaId, kind: ActionKind, reason: String) {
        let Some(slot) = self.slots.get(&replica) else { return };
        let (app, node) = (slot.app.clone(), slot.node);
        self.plan.actions.push(Action { replica, app, node, kind, reason });
    }

    fn node_label(&self, id: NodeId) -> String {
        self.state.nodes.get(&id).map_or_else(|| id.to_string(), Node::label)
    }

    /// What is gone, or is on a node that is.
    fn forget(&mut self) {
        let gone: Vec<(ReplicaId, String)> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| {
                let Some(node) = self.state.nodes.get(&slot.node) else { return Some((*id, "its node was removed".to_owned())) };
                let label = node.label();
                if node.restarted {
                    return Some((*id, format!("the agent on {label} was started anew")));
                }
                if node.vanished.contains(id) {
                    return Some((*id, format!("the agent on {label} was started anew and does not have it any more")));
                }
                if node.is_gone() {
                    return Some((*id, format!("{label} is {}", node.state(&self.state.settings, self.now))));
                }
                match node.observed.get(id) {
                    Some(seen) if seen.is_over() => Some((*id, "the processes have ended".to_owned())),
                    None if node.reported && slot.stop_sent.is_some_and(|stamp| node.applied >= Some(stamp)) => {
                        Some((*id, "the processes have ended".to_owned()))
                    }
                    _ => None,
                }
            })
            .collect();
        for (id, reason) in gone {
            self.push(id, ActionKind::Forget, reason);
            if let Some(slot) = self.slots.remove(&id).filter(|slot| slot.phase == AssignedPhase::Run) {
                self.lost.push((slot.app, slot.node));
            }
        }
    }

    /// What runs under our cluster's id and has no slot: this controller is new, or its node was taken for lost.
    fn adopt(&mut self) {
        let state = self.state;
        let mut counts: BTreeMap<&AppName, u32> = BTreeMap::new();
        for slot in state.slots.iter().filter(|(id, slot)| self.slots.contains_key(id) && slot.phase == AssignedPhase::Run) {
            *counts.entry(&slot.1.app).or_default() += 1;
        }
        let mut found: Vec<_> = state
            .nodes
            .values()
            .filter(|node| node.is_live(&state.settings, self.now))
            .flat_map(|node| node.observed.values().map(move |seen| (node, seen)))
            .filter(|(_, seen)| !state.slots.contains_key(&seen.report.id) && !seen.is_over())
            .collect();
        // The ready and the old ones first: they are what somebody relies on.
        found.sort_by_key(|(_, seen)| (!seen.report.ready, seen.report.id));
        for (node, Observed { report, .. }) in found {
            let Some(app) = state.apps.get(&report.app) else { continue };
            let count = counts.entry(&app.name).or_default();
            let runs = report.finished || matches!(report.phase, ObservedPhase::Starting | ObservedPhase::Running | ObservedPhase::Backoff);
            let fits = runs && *count < app.desired && report.revision <= app.revision;
            let (phase, reason) = if fits {
                *count += 1;
                (AssignedPhase::Run, "it runs already and is wanted")
            } else if report.phase == ObservedPhase::Draining {
                (AssignedPhase::Drain, "it was draining already")
            } else if runs {
                // Requests that it got before its node was taken for lost may still be under way.
                (AssignedPhase::Drain, "it runs already and is not wanted")
            } else {
                (AssignedPhase::Stop, "its agent is ending it already")
            };
            let mut slot = Slot::run(app.name.clone(), report.revision, node.member.id);
            slot.phase = phase;
            slot.drain_at_ms = Some(self.now.mono_ms);
            self.load.add(&slot.app, slot.node);
            self.slots.insert(report.id, slot);
            self.push(report.id, ActionKind::Adopt { revision: report.revision, phase }, reason.to_owned());
        }
    }

    /// What its agent lets go already, by an order that was overtaken or of its own accord, never runs again: replace it.
    fn follow(&mut self) {
        let is_ending = |(id, slot): &(&ReplicaId, &Slot)| {
            let phase = self.state.seen(**id, slot).map(|seen| seen.report.phase);
            slot.phase == AssignedPhase::Run && matches!(phase, Some(ObservedPhase::Draining | ObservedPhase::Stopping))
        };
        let ending: Vec<ReplicaId> = self.slots.iter().filter(is_ending).map(|(id, _)| *id).collect();
        for id in ending {
            self.drain(id, "its agent is ending it already".to_owned());
        }
    }

    fn app(&mut self, app: &App, ids: &mut dyn IdSource) {
        let state = self.state;
        if state.stands_down() {
            let why = "another controller of this cluster is at work, and this one assigns nothing any more; stop one of the two";
            self.plan.waiting.entry(app.name.clone()).or_default().push(why.to_owned());
        }
        let running = |(_, slot): &(&ReplicaId, &Slot)| slot.app == app.name && slot.phase == AssignedPhase::Run;
        let is_going = |node: NodeId| state.nodes.get(&node).is_none_or(Node::is_going);
        let all: Vec<ReplicaId> = self.slots.iter().filter(running).map(|(id, _)| *id).collect();
        let (going, mut staying): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|id| self.slots.get(id).is_some_and(|slot| is_going(slot.node)));

        self.outdated(app, &mut staying);
        self.surplus(app, &mut staying);
        let places = staying.iter().filter_map(|id| self.slots.get(id)).map(|slot| slot.node);
        let mut candidates = Candidates::new(state, app, &self.load, places, self.now);
        let nowhere = candidates.is_empty();
        let missing = (app.desired as usize).saturating_sub(staying.len());
        if missing > 0 {
            let started = self.start(app, missing, &going, &mut candidates, ids);
            staying.extend(started);
        }
        self.replace_failing(app, &staying, &mut candidates, ids);
        self.let_go(app, going, &staying, nowhere);
        self.explain_failures(app, &staying);
    }

    fn is_ready(&self, id: ReplicaId) -> bool {
        self.slots.get(&id).is_some_and(|slot| self.state.is_ready(id, slot))
    }

    /// What has finished counts as one of its app's, and is not started again; until the app is another.
    fn outdated(&mut self, app: &App, staying: &mut Vec<ReplicaId>) {
        let is_outdated = |planner: &Self, id: &ReplicaId| {
            planner
                .slots
                .get(id)
                .is_some_and(|slot| slot.revision != app.revision && planner.state.seen(*id, slot).is_some_and(|seen| seen.report.finished))
        };
        let outdated: Vec<ReplicaId> = staying.iter().filter(|id| is_outdated(self, id)).copied().collect();
        staying.retain(|id| !outdated.contains(id));
        for id in outdated {
            self.drain(id, "it has finished, and its app has changed since".to_owned());
        }
    }

    /// Fewer are wanted than there are.
    fn surplus(&mut self, app: &App, staying: &mut Vec<ReplicaId>) {
        let surplus = staying.len().saturating_sub(app.desired as usize);
        if surplus == 0 {
            return;
        }
        let standing = |id: &ReplicaId| {
            let node = self.slots.get(id)?.node;
            Some(Standing { is_unready: !self.is_ready(*id), id: *id, node })
        };
        let state = self.state;
        let value = |node: NodeId| state.nodes.get(&node).and_then(|node| spread_value(app, node));
        let victims = first_to_go(staying.iter().filter_map(standing), value, surplus);
        for victim in &victims {
            self.drain(*victim, format!("{} replicas of {} are wanted", app.desired, app.name));
        }
        staying.retain(|id| !victims.contains(id));
    }

    fn drain(&mut self, id: ReplicaId, reason: String) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.phase = AssignedPhase::Drain;
            slot.drain_at_ms = Some(self.now.mono_ms);
            self.load.remove(&slot.app, slot.node);
        }
        self.push(id, ActionKind::Drain, reason);
    }

    fn start_one(&mut self, app: &App, node: NodeId, moved: bool, reason: String, ids: &mut dyn IdSource) -> ReplicaId {
        let id = ReplicaId(ids.next_id());
        let mut slot = Slot::run(app.name.clone(), app.revision, node);
        slot.moved = moved;
        self.load.add(&app.name, node);
        self.slots.insert(id, slot);
        self.push(id, ActionKind::Start { revision: app.revision, moved }, reason);
        id
    }

    /// More are wanted than there are.
    fn start(
        &mut self,
        app: &App,
        missing: usize,
        going: &[ReplicaId],
        candidates: &mut Candidates,
        ids: &mut dyn IdSource,
    ) -> Vec<ReplicaId> {
        let wait = |planner: &mut Self, sentence: String| planner.plan.waiting.entry(app.name.clone()).or_default().push(sentence);
        let waiting_for: Vec<String> =
            self.state.nodes.values().filter(|node| node.awaited).map(|node| node.member.url.to_string()).collect();
        if let Some(first) = waiting_for.first() {
            let others = if waiting_for.len() > 1 { format!(" and {} more", waiting_for.len() - 1) } else { String::new() };
            wait(self, format!("{missing} to start: this controller is new and waits for {first}{others} to say what it runs"));
            return vec![];
        }
        if self.state.stands_down() {
            return vec![];
        }
        if self.state.superseded_by.is_some() {
            wait(self, format!("{missing} to start: a later controller's epoch was seen, and this one is being raised above it"));
            return vec![];
        }
        let mut started = Vec::new();
        let lost: Vec<NodeId> = self.lost.iter().filter(|(name, _)| *name == app.name).map(|(_, node)| *node).collect();
        for nth in 0..missing {
            let Some(node) = candidates.take() else {
                let why = why_nowhere(self.state, app, &self.load, self.now);
                wait(self, format!("{} of {} to start: {why}", missing - nth, app.desired));
                break;
            };
            let leaver = going.get(nth).and_then(|id| self.slots.get(id)).map(|slot| slot.node);
            let reason = match (lost.get(nth), leaver) {
                (Some(place), _) => format!("in place of what {} ran", self.node_label(*place)),
                (None, Some(leaver)) => format!("{} is going", self.node_label(leaver)),
                (None, None) => format!("{} replicas of {} are wanted", app.desired, app.name),
            };
            started.push(self.start_one(app, node, false, reason, ids));
        }
        started
    }

    /// A replica that keeps failing on one node, of a revision that is ready on another, is tried elsewhere, once.
    fn replace_failing(&mut self, app: &App, staying: &[ReplicaId], candidates: &mut Candidates, ids: &mut dyn IdSource) {
        let state = self.state;
        let is_ready = |id: &&ReplicaId| self.is_ready(**id);
        let ready: BTreeSet<(u64, NodeId)> =
            staying.iter().filter(is_ready).filter_map(|id| self.slots.get(id)).map(|slot| (slot.revision, slot.node)).collect();
        for id in staying {
            let Some(slot) = self.slots.get(id).cloned() else { continue };
            let Some(seen) = state.seen(*id, &slot) else { continue };
            let fails = seen.report.failures >= FAILURES_BEFORE_MOVE && !seen.report.ready;
            let runs_elsewhere =
                || ready.range((slot.revision, NodeId(0))..=(slot.revision, NodeId(u128::MAX))).any(|(_, node)| *node != slot.node);
            if !fails || slot.moved || !runs_elsewhere() {
                continue;
            }
            let Some(node) = candidates.take_for(slot.node) else { continue };
            let label = self.node_label(slot.node);
            let times = seen.report.failures;
            self.start_one(app, node, true, format!("a replica failed {times} times in a row on {label} and others run elsewhere"), ids);
            self.drain(*id, format!("it failed {times} times in a row on {label} and is tried on {}", self.node_label(node)));
        }
    }

    /// Replicas on nodes that go: each drains once another is ready in its place, or when none can be.
    fn let_go(&mut self, app: &App, mut going: Vec<ReplicaId>, staying: &[ReplicaId], nowhere: bool) {
        if going.is_empty() {
            return;
        }
        let state = self.state;
        // A node that is only suspect, or not dialled yet, may take them in a moment.
        let most = app.placement.max_per_node.map_or(usize::MAX, |most| most as usize);
        let has_place = |id: NodeId| {
            let is_there = |slot: &&Slot| slot.app == app.name && slot.node == id && slot.phase == AssignedPhase::Run;
            self.slots.values().filter(is_there).count() < most
        };
        let perhaps_soon = state.nodes.iter().any(|(id, node)| {
            !node.is_gone() && !node.is_going() && node.is_ours() && node.facts.is_some() && fits(app, node) && has_place(*id)
        });
        let hopeless = nowhere && !perhaps_soon;
        let ready = staying.iter().filter(|id| self.is_ready(**id)).count();
        let keep = if hopeless { 0 } else { (app.desired as usize).saturating_sub(ready) };
        going.sort_by_key(|id| (!self.is_ready(*id), *id));
        let surge = (staying.len() + going.len().min(keep)).saturating_sub(app.desired as usize);
        if surge > 0 {
            self.plan.surge.insert(app.name.clone(), u32::try_from(surge).unwrap_or(u32::MAX));
        }
        for id in going.into_iter().skip(keep) {
            let label = self.slots.get(&id).map(|slot| self.node_label(slot.node)).unwrap_or_default();
            let reason = if hopeless {
                format!("{label} is going and no other node can take it")
            } else {
                format!("{label} is going and others are ready in its place")
            };
            self.drain(id, reason);
        }
    }

    /// Replicas that do not come up say why.
    fn explain_failures(&mut self, app: &App, staying: &[ReplicaId]) {
        const SENTENCES_MAX: usize = 5;
        let failing: Vec<String> = staying
            .iter()
            .filter_map(|id| {
                let seen = self.state.seen(*id, self.slots.get(id)?)?;
                let report = &seen.report;
                let label = self.slots.get(id).map(|slot| self.node_label(slot.node)).unwrap_or_default();
                if report.finished {
                    return Some(format!("{id} on {label} has finished: {}", report.detail));
                }
                if report.failures > 0 && !report.ready {
                    return Some(format!("{id} on {label} failed {} times in a row: {}", report.failures, report.detail));
                }
                seen.why_unready(self.now).map(|why| format!("{id} on {label}: {why}"))
            })
            .collect();
        if failing.is_empty() {
            return;
        }
        let more = failing.len().saturating_sub(SENTENCES_MAX);
        let sentences = self.plan.waiting.entry(app.name.clone()).or_default();
        sentences.extend(failing.into_iter().take(SENTENCES_MAX));
        if more > 0 {
            sentences.push(format!("{more} more replicas are not ready"));
        }
    }

    /// What has drained, or had its time for it.
    fn stop(&mut self) {
        let state = self.state;
        let drained: Vec<(ReplicaId, String)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.phase == AssignedPhase::Drain)
            .filter_map(|(id, slot)| {
                let drain_ms = state.apps.get(&slot.app).map_or(0, |app| app.spec.drain_ms);
                let since_ms = self.now.since_ms(slot.drain_at_ms?);
                if since_ms >= drain_ms {
                    return Some((*id, format!("it has drained for {} s, as long as it may", since_ms / 1000)));
                }
                let version = slot.unrouted_since?;
                state.is_quiet(*id, &slot.app, version).then(|| (*id, "it has no requests left".to_owned()))
            })
            .collect();
        for (id, reason) in drained {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.phase = AssignedPhase::Stop;
            }
            self.push(id, ActionKind::Stop, reason);
        }
    }
}
