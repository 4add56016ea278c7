//! A decision: plan, carry it out on the state, and say what the shell is to do.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::AppName;
use crate::effects::Effects;
use crate::id::{IdSource, NodeId, ReplicaId};
use crate::liveness::Contact;
use crate::node::{Node, NodeState, Sent};
use crate::now::Now;
use crate::plan::{Action, ActionKind, Plan, plan};
use crate::route::{AppRoutes, Route, RouteKey, RoutingTable, Target};
use crate::slot::Slot;
use crate::state::ClusterState;
use crate::traffic_policy::KEEPALIVE_IDLE_MS;
use crate::wire::{AssignedPhase, AssignedReplica, Assignment, ObservedPhase, Stamp};

/// An assignment that was not acknowledged is sent again after so long, in milliseconds.
const RESEND_MS: u64 = 500;

impl ClusterState {
    /// Makes a plan and carries it out. Runs after every batch of events.
    pub fn decide(&mut self, now: Now, ids: &mut dyn IdSource) -> Effects {
        if !self.started {
            return Effects::default();
        }
        self.mark_duplicates();
        self.judge_silence(now);
        let plan = plan(self, now, ids);
        self.carry_out(&plan, now);
        self.waiting.clone_from(&plan.waiting);
        let routes = self.renew_table(now);
        let assignments = self.assignments(now);
        let endpoints = self.endpoints(now);
        let forget = self.finished_tombstones();
        let forget_apps = self.finished_apps();
        let taken_over = self.nodes.iter().filter(|(_, node)| node.was_taken_over()).map(|(id, _)| *id).collect();
        self.tell_of_nodes(now);
        self.tell_of_plan(&plan);
        self.tell_of_readiness();
        Effects {
            assignments,
            endpoints,
            routes,
            raise_epoch_at_least: self.superseded_by.filter(|_| !self.has_raised).map(|by| by.saturating_add(1)),
            forget,
            forget_apps,
            taken_over,
            story: std::mem::take(&mut self.story),
            plan,
        }
    }

    /// Two members that are one agent, or bear one name: the one that has replicas of ours, else the earlier, is meant.
    fn mark_duplicates(&mut self) {
        let busy: BTreeSet<NodeId> = self.slots.values().map(|slot| slot.node).collect();
        let mut order: Vec<NodeId> = self.nodes.keys().copied().collect();
        order.sort_by_key(|id| (!busy.contains(id), *id));
        let mut by_instance = BTreeMap::new();
        let mut by_name = BTreeMap::new();
        for id in order {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.duplicate = None;
            let Some(facts) = &node.facts else { continue };
            if !matches!(node.contact, Contact::Up { .. } | Contact::Broken { .. }) {
                continue;
            }
            let url = node.member.url.to_string();
            if let Some(first) = by_instance.get(&facts.instance) {
                node.duplicate = Some(format!("this is the agent that is registered as {first} already; remove one of the two"));
            } else if let Some(first) = by_name.get(&facts.name) {
                node.duplicate =
                    Some(format!("its name {} is that of {first} already; start one of the two with another --name", facts.name));
            } else {
                by_name.insert(facts.name.clone(), url.clone());
                by_instance.insert(facts.instance, url);
            }
        }
    }

    fn carry_out(&mut self, plan: &Plan, now: Now) {
        for Action { replica, app, node, kind, .. } in &plan.actions {
            match kind {
                ActionKind::Forget => {
                    self.slots.remove(replica);
                    if let Some(node) = self.nodes.get_mut(node) {
                        node.observed.remove(replica);
                    }
                }
                ActionKind::Adopt { revision, phase } => {
                    let mut slot = Slot::run(app.clone(), *revision, *node);
                    slot.phase = *phase;
                    slot.drain_at_ms = (*phase != AssignedPhase::Run).then_some(now.mono_ms);
                    self.slots.insert(*replica, slot);
                }
                ActionKind::Start { revision, moved } => {
                    let mut slot = Slot::run(app.clone(), *revision, *node);
                    slot.moved = *moved;
                    self.slots.insert(*replica, slot);
                }
                ActionKind::Drain => {
                    if let Some(slot) = self.slots.get_mut(replica) {
                        slot.phase = AssignedPhase::Drain;
                        slot.drain_at_ms = Some(now.mono_ms);
                    }
                }
                ActionKind::Stop => {
                    if let Some(slot) = self.slots.get_mut(replica) {
                        slot.phase = AssignedPhase::Stop;
                    }
                }
            }
        }
        for node in self.nodes.values_mut() {
            node.restarted = false;
            node.vanished.clear();
        }
    }

    /// The app that gets what no rule claims: the one that says so, else the seed's.
    fn default_app(&self) -> Option<AppName> {
        let said = self.apps.values().find(|app| app.default).map(|app| app.name.clone());
        said.or_else(|| self.apps.contains_key(&AppName::builtin()).then(AppName::builtin))
    }

    /// The routes as they follow from what is known: replicas that are to run, are ready, and are not on a node that is gone.
    fn routes(&self, now: Now) -> RoutingTable {
        let mut apps: BTreeMap<_, _> = self
            .apps
            .values()
            .map(|app| {
                let routes = AppRoutes {
                    desired: app.desired,
                    keepalive_idle_ms: app.traffic.keepalive_idle_ms.unwrap_or(KEEPALIVE_IDLE_MS),
                    traffic: app.traffic.over(&self.settings.traffic),
                    rules: app.routes.clone(),
                    deadlines: app.traffic.deadlines.clone(),
                    replicas: Vec::new(),
                };
                (app.name.clone(), routes)
            })
            .collect();
        // Said once, or every table would differ from the one before.
        let ages: BTreeMap<RouteKey, u64> = self.table.routes().map(|(_, route)| (route.key, route.age_ms)).collect();
        for (id, slot) in self.slots.iter().filter(|(_, slot)| slot.phase == AssignedPhase::Run) {
            let (Some(node), Some(app)) = (self.nodes.get(&slot.node), apps.get_mut(&slot.app)) else { continue };
            let Some(report) = node.observed.get(id).map(|seen| &seen.report) else { continue };
            let Some(port) = report.port.filter(|_| report.ready && report.phase == ObservedPhase::Running && !node.is_gone()) else {
                continue;
            };
            let url = &node.member.url;
            let key = RouteKey { replica: *id, attempt: report.attempt };
            let age_ms = ages.get(&key).copied().unwrap_or(report.age_ms);
            app.replicas.push(Route {
                key,
                node: slot.node,
                target: if url.is_loopback() { Target::Loopback(port) } else { Target::Tunnel(url.authority()) },
                last_choice: node.is_silent(&self.settings, now),
                age_ms,
            });
        }
        RoutingTable { epoch: self.epoch, version: self.table.version, fallback: self.default_app(), apps }
    }

    fn renew_table(&mut self, now: Now) -> Option<RoutingTable> {
        let mut table = self.routes(now);
        let changed = table != self.table;
        if changed {
            table.version += 1;
            self.table = table;
        }
        let version = self.table.version;
        for slot in self.slots.values_mut().filter(|slot| slot.phase != AssignedPhase::Run) {
            slot.unrouted_since.get_or_insert(version);
        }
        changed.then(|| self.table.clone())
    }

    /// The assignment of each node that is to hear one now.
    fn assignments(&mut self, now: Now) -> Vec<(NodeId, Assignment)> {
        if self.superseded_by.is_some() {
            return vec![];
        }
        let mut replicas: BTreeMap<NodeId, Vec<AssignedReplica>> = BTreeMap::new();
        for (id, slot) in self.slots.iter().filter(|(_, slot)| self.apps.contains_key(&slot.app)) {
            let replica = AssignedReplica { id: *id, app: slot.app.clone(), revision: slot.revision, phase: slot.phase };
            replicas.entry(slot.node).or_default().push(replica);
        }
        let mut out = Vec::new();
        let mut stops: Vec<(ReplicaId, Stamp)> = Vec::new();
        for (id, node) in &mut self.nodes {
            if !matches!(node.contact, Contact::Up { .. }) || !node.reported || !node.is_ours() {
                continue;
            }
            let replicas = replicas.remove(id).unwrap_or_default();
            let says_nothing = replicas.is_empty() && node.observed.is_empty() && node.applied.is_none() && node.sent.is_none();
            if says_nothing && !node.member.removed && node.refusal.is_none() && !node.obeys_other {
                // It runs nothing and is to run nothing: an agent keeps no cluster until it has work. After a refusal it is asked
                // again; and one that was taken over is told so, even with nothing to run.
                continue;
            }
            let same = node.sent.as_ref().filter(|sent| sent.assignment.replicas == replicas);
            let stamp = match same {
                Some(sent) => {
                    let again_ms = if node.applied == Some(sent.assignment.stamp) { self.settings.lease_ms / 3 } else { RESEND_MS };
                    if now.since_ms(sent.at_ms) < again_ms {
                        continue;
                    }
                    sent.assignment.stamp
                }
                None => {
                    // After a reconnection the agent may obey a later generation than was counted here.
                    let seen = node.applied.filter(|stamp| stamp.epoch == self.epoch).map_or(0, |stamp| stamp.generation);
                    node.generation = node.generation.max(seen).saturating_add(1);
                    Stamp { epoch: self.epoch, generation: node.generation }
                }
            };
            let mut specs = BTreeMap::new();
            let mut requires = BTreeSet::new();
            for replica in &replicas {
                if replica.phase == AssignedPhase::Stop {
                    stops.push((replica.id, stamp));
                }
                if let Some(app) = self.apps.get(&replica.app) {
                    let spec = app.spec_of(replica.revision);
                    requires.extend(spec.requires());
                    specs.entry(replica.spec_key()).or_insert_with(|| spec.clone());
                }
            }
            let assignment = Assignment {
                cluster: self.cluster,
                stamp,
                requires: requires.into_iter().map(str::to_owned).collect(),
                lease_ms: self.settings.lease_ms,
                take_over: node.member.take_over,
                specs,
                replicas,
            };
            node.sent = Some(Sent { assignment: assignment.clone(), at_ms: now.mono_ms });
            out.push((*id, assignment));
        }
        for (id, stamp) in stops {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.stop_sent.get_or_insert(stamp);
            }
        }
        out
    }

    /// Removed members that hold nothing of ours any more.
    fn finished_tombstones(&self) -> Vec<NodeId> {
        let is_finished = |id: &NodeId, node: &Node| {
            let empty = !self.slots.values().any(|slot| slot.node == *id);
            let told = node.reported
                && node.observed.is_empty()
                && node
                    .sent
                    .as_ref()
                    .is_some_and(|sent| sent.assignment.replicas.is_empty() && node.applied == Some(sent.assignment.stamp));
            empty
                && match &node.contact {
                    Contact::New { .. } => !node.awaited && node.facts.is_none(),
                    Contact::Lost { process_gone, .. } => *process_gone,
                    Contact::Left => true,
                    Contact::Up { .. } => told || !node.is_ours(),
                    Contact::Broken { .. } => !node.is_ours(),
                }
        };
        self.nodes.iter().filter(|(id, node)| node.member.removed && is_finished(id, node)).map(|(id, _)| *id).collect()
    }

    /// Apps on their way out of which no node has anything any more.
    fn finished_apps(&self) -> Vec<AppName> {
        if self.superseded_by.is_some() {
            return vec![];
        }
        let silent = |node: &Node| !node.member.removed && node.is_ours() && node.may_hide_something();
        if self.nodes.values().any(silent) {
            return vec![];
        }
        let is_there = |name: &AppName| {
            let runs = |node: &Node| node.observed.values().any(|seen| seen.report.app == *name && !node.is_gone());
            self.slots.values().any(|slot| slot.app == *name) || self.nodes.values().any(runs)
        };
        self.apps.values().filter(|app| app.deleted && !is_there(&app.name)).map(|app| app.name.clone()).collect()
    }

    fn tell_of_nodes(&mut self, now: Now) {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let state = node.state(&self.settings, now);
            let before = self.told_nodes.insert(*id, state);
            if before == Some(state) {
                continue;
            }
            let url = &node.member.url;
            let detail = node.detail(&self.settings, now);
            let warn = !matches!(state, NodeState::Ready | NodeState::Connecting | NodeState::Draining | NodeState::Left);
            let label = node.label();
            let name = if label == url.authority() { url.to_string() } else { format!("{label} ({url})") };
            let text = if detail.is_empty() { format!("node {name} is {state}") } else { format!("node {name} is {state}: {detail}") };
            lines.push((warn, text));
        }
        for (warn, text) in lines {
            self.tell(warn, text);
        }
    }

    /// One line for all actions of one kind on one node for one reason.
    fn tell_of_plan(&mut self, plan: &Plan) {
        let mut groups: Vec<(&Action, u32)> = Vec::new();
        for action in &plan.actions {
            let kind = std::mem::discriminant(&action.kind);
            let alike = |(first, _): &&mut (&Action, u32)| {
                std::mem::discriminant(&first.kind) == kind
                    && (&first.app, first.node, &first.reason) == (&action.app, action.node, &action.reason)
            };
            match groups.iter_mut().rev().take(64).find(alike) {
                Some((_, count)) => *count += 1,
                None => groups.push((action, 1)),
            }
        }
        for (action, count) in groups {
            let what = match count {
                1 => format!("{} replica {}", action.app, action.replica),
                n => format!("{n} {} replicas", action.app),
            };
            let verb = match action.kind {
                ActionKind::Forget => "gone from",
                ActionKind::Adopt { phase: AssignedPhase::Run, .. } => "adopted on",
                ActionKind::Adopt { .. } => "found on",
                ActionKind::Start { .. } => "starting on",
                ActionKind::Drain => "draining on",
                ActionKind::Stop => "stopping on",
            };
            let label = self.nodes.get(&action.node).map_or_else(|| action.node.to_string(), Node::label);
            self.tell(false, format!("{what} {verb} {label}: {}", action.reason));
        }
    }

    fn tell_of_readiness(&mut self) {
        let mut lines = Vec::new();
        for app in self.apps.values() {
            let ready = self.table.apps.get(&app.name).map_or(0, |routes| routes.replicas.len());
            let ready = u32::try_from(ready).unwrap_or(u32::MAX);
            let before = self.told_ready.insert(app.name.clone(), (ready, app.desired));
            let is_news = before.is_some_and(|before| before != (ready, app.desired));
            if is_news
                && app.desired > 0
                && ready >= app.desired
                && before.is_some_and(|(was, wanted)| was < wanted || wanted != app.desired)
            {
                lines.push(format!("{}: all {} replicas are ready", app.name, app.desired));
            }
        }
        for text in lines {
            self.tell(false, text);
        }
    }
}
