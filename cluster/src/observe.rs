//! Taking in what happened. Nothing is decided here but who is alive.

use crate::event::Event;
use crate::fence::Held;
use crate::id::{InstanceId, NodeId};
use crate::liveness::{Blackout, Contact};
use crate::member::Member;
use crate::node::{Node, Observed};
use crate::now::Now;
use crate::settings::LATE_MS;
use crate::state::ClusterState;
use crate::usage::NodeUsage;
use crate::wire::{AGENT_SERVICE, News, NodeFacts, ObserveLine, ObservedPhase, ReplicaReport, Stamp};

impl ClusterState {
    /// Takes in one event.
    pub fn observe(&mut self, event: Event, now: Now) {
        match event {
            Event::Desired { apps, members } => self.desired(apps, members),
            Event::Connected { node, facts } => self.connected(node, facts, now),
            Event::DialFailed { node, refused, error } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    let outlived = node.facts.as_ref().is_some_and(|facts| facts.keep_workers);
                    node.contact.dial_failed(refused, error, node.leaving, outlived, now);
                }
            }
            Event::Line { node, line } => self.line(node, line, now),
            Event::StreamEnded { node, error } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.contact.stream_ended(error);
                }
            }
            Event::PutAccepted { node, stamp } => {
                if let Some(node) = self.nodes.get_mut(&node)
                    && node.sent.as_ref().is_some_and(|sent| sent.assignment.stamp == stamp)
                {
                    // That it obeys is taken from its stream alone, where it stands in order with what it reports.
                    node.refusal = None;
                }
            }
            Event::PutConflict { node, stamp, held, detail } => self.conflict(node, stamp, held, detail),
            Event::PutFailed { node, stamp, error } => {
                if let Some(node) = self.nodes.get_mut(&node)
                    && node.sent.as_ref().is_some_and(|sent| sent.assignment.stamp == stamp)
                {
                    node.refusal = Some(error);
                }
            }
            Event::RouteAck { consumer, ack } => {
                self.acks.insert(consumer, ack);
            }
            Event::EpochRaised(epoch) => {
                if epoch > self.epoch {
                    self.epoch = epoch;
                    for node in self.nodes.values_mut() {
                        node.generation = 0;
                        node.sent = None;
                        node.endpoints_generation = 0;
                        node.endpoints = None;
                    }
                }
                if self.superseded_by.is_some_and(|by| self.epoch > by) {
                    self.superseded_by = None;
                    self.has_raised = true;
                }
            }
            Event::Tick => self.tick(now),
        }
    }

    fn desired(&mut self, apps: Vec<crate::app::App>, members: Vec<Member>) {
        self.apps = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
        let mut before = std::mem::take(&mut self.nodes);
        let awaited = !self.started;
        self.nodes = members
            .into_iter()
            .map(|member| {
                let mut node = before.remove(&member.id).unwrap_or_else(|| Node::new(member.clone(), awaited));
                if member.take_over {
                    node.foreign = None;
                }
                node.member = member;
                node.relabel();
                (node.member.id, node)
            })
            .collect();
        self.told_nodes.retain(|id, _| self.nodes.contains_key(id));
        self.started = true;
    }

    fn connected(&mut self, id: NodeId, facts: NodeFacts, now: Now) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if facts.service != AGENT_SERVICE {
            node.contact.dial_failed(false, "what answers there is no Ostler agent".to_owned(), false, true, now);
            return;
        }
        let before = node.facts.as_ref().map(|facts| (facts.instance, facts.keep_workers));
        if let Some((instance, keep_workers)) = before
            && instance != facts.instance
        {
            node.leaving = false;
            node.applied = None;
            node.acknowledged = None;
            node.usage = NodeUsage::default();
            let before = std::mem::take(&mut node.observed);
            if keep_workers {
                // They outlive their agent: what it has is in its first snapshot.
                node.unconfirmed.extend(before.into_iter().filter(|(_, seen)| !seen.is_over()).map(|(id, _)| id));
            } else {
                node.restarted = true;
            }
        }
        node.facts = Some(facts);
        node.relabel();
        node.contact = Contact::Up { heard_at_ms: now.mono_ms };
        node.reported = false;
        // What was sent may not have arrived: it is sent again once the node has reported.
        node.sent = None;
        node.endpoints = None;
        node.refusal = None;
    }

    fn line(&mut self, id: NodeId, line: ObserveLine, now: Now) {
        let (cluster, epoch) = (self.cluster, self.epoch);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let instance: Option<InstanceId> = node.facts.as_ref().map(|facts| facts.instance);
        if instance != Some(line.instance) {
            return;
        }
        // Also where it was taken for lost while its stream stayed open: the lines came in order, so what is known of it holds.
        node.contact = Contact::Up { heard_at_ms: now.mono_ms };
        node.foreign = match line.cluster {
            Some(other) if other != cluster && !node.member.take_over => {
                Some(format!("its agent runs replicas of another cluster ({other}); add it again with \"take_over\": true to replace them"))
            }
            _ => None,
        };
        // The last replica's end is said by an agent that runs nothing any more, and so names no cluster.
        let ours = line.cluster.is_none_or(|named| named == cluster);
        node.obeys_other = !ours;
        // An agent that runs nothing names no cluster, and still obeys what it applied last.
        node.applied = line.applied.filter(|_| ours);
        if let Some(later) = node.applied.filter(|stamp| line.cluster == Some(cluster) && stamp.epoch > epoch) {
            self.overtaken(later.epoch);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if matches!(line.news, News::Snapshot(_)) {
            node.usage.forget_replicas();
        }
        match line.news {
            News::Snapshot(snapshot) => {
                node.reported = true;
                node.awaited = false;
                node.leaving = snapshot.leaving;
                node.acknowledged = snapshot.routes.filter(|_| ours);
                let reports = if ours { snapshot.replicas } else { vec![] };
                let before = std::mem::take(&mut node.observed);
                let seen = |report| Observed { report, at_ms: now.mono_ms };
                node.observed = reports.into_iter().map(|report| (report.id, seen(report))).collect();
                let unconfirmed = std::mem::take(&mut node.unconfirmed);
                node.vanished.extend(unconfirmed.into_iter().filter(|id| !node.observed.contains_key(id)));
                let reports: Vec<ReplicaReport> = node.observed.values().map(|seen| seen.report.clone()).collect();
                for report in reports {
                    self.tell_of_failure(before.get(&report.id), &report);
                }
            }
            News::Replica(report) if ours => {
                let before = node.observed.get(&report.id).cloned();
                // It only moves forward: what is older than what is known says nothing.
                let is_older =
                    before.as_ref().is_some_and(|seen| (report.attempt, report.phase) < (seen.report.attempt, seen.report.phase));
                // The end of what was never placed there, or is placed elsewhere by now, is the last that need be known of it.
                let is_ours = self.slots.get(&report.id).is_some_and(|slot| slot.node == id);
                if report.phase == ObservedPhase::Stopped && !report.finished && !is_ours {
                    node.observed.remove(&report.id);
                } else if !is_older {
                    node.observed.insert(report.id, Observed { report: report.clone(), at_ms: now.mono_ms });
                    self.tell_of_failure(before.as_ref(), &report);
                }
            }
            News::Routes(acknowledged) => node.acknowledged = Some(acknowledged).filter(|_| ours),
            News::Replica(_) | News::Heartbeat(_) => {}
            News::Leaving(_) => node.leaving = true,
        }
        if let Some(usage) = line.usage
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.usage.take(usage, &node.observed, now.mono_ms);
        }
    }

    /// Tells of a replica whose process ended by itself.
    fn tell_of_failure(&mut self, before: Option<&Observed>, report: &ReplicaReport) {
        // The last attempt that is known to have failed; the next one tells of it again.
        if report.finished && before.is_none_or(|before| !before.report.finished) {
            let label = self.slots.get(&report.id).and_then(|slot| self.nodes.get(&slot.node)).map(Node::label).unwrap_or_default();
            self.tell(false, format!("{} replica {} on {label} has finished: {}", report.app, report.id, report.detail));
            return;
        }
        let failed = |report: &ReplicaReport| report.attempt - u32::from(report.phase != ObservedPhase::Backoff).min(report.attempt);
        if before.is_some_and(|before| failed(report) > failed(&before.report)) {
            let id = report.id;
            let label = self.slots.get(&id).and_then(|slot| self.nodes.get(&slot.node)).map(Node::label).unwrap_or_default();
            let text = format!("{} replica {id} on {label} failed ({} in a row): {}", report.app, report.failures, report.detail);
            self.tell(true, text);
        }
    }

    /// An agent obeys a later epoch than ours.
    fn overtaken(&mut self, epoch: u64) {
        if self.superseded_by.is_none() {
            let text = if self.has_raised {
                format!(
                    "another controller of this cluster is at work (epoch {epoch}, ours was {}): this one assigns nothing any more; stop one of the two, and start this one anew if it is to stay",
                    self.epoch
                )
            } else {
                format!("an agent obeys epoch {epoch}, later than ours ({}): ours is raised above it", self.epoch)
            };
            self.tell(true, text);
        }
        self.superseded_by = self.superseded_by.max(Some(epoch));
    }

    fn conflict(&mut self, id: NodeId, stamp: Stamp, held: Held, detail: String) {
        let (cluster, epoch) = (self.cluster, self.epoch);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if stamp.epoch != epoch {
            return;
        }
        match (held.cluster, held.stamp) {
            (Some(other), _) if other != cluster => node.foreign = Some(detail),
            (_, Some(has)) if has.epoch > epoch => self.overtaken(has.epoch),
            (_, Some(has)) => {
                node.generation = node.generation.max(has.generation);
                node.sent = None;
            }
            _ => node.refusal = Some(detail),
        }
    }

    fn tick(&mut self, now: Now) {
        let late_ms = now.since_ms(self.ticked_at_ms).saturating_sub(self.settings.tick_ms);
        self.ticked_at_ms = now.mono_ms;
        if late_ms > LATE_MS {
            self.tell(true, format!("this controller was not running for {late_ms} ms: the silence of its nodes is counted anew"));
            for node in self.nodes.values_mut() {
                node.contact.restart_clock(now);
            }
            if let Some(blackout) = &mut self.blackout {
                blackout.first_return_at_ms = blackout.first_return_at_ms.map(|_| now.mono_ms);
            }
        }
        self.judge_silence(now);
    }

    /// Who is lost because nothing is heard of it.
    pub(crate) fn judge_silence(&mut self, now: Now) {
        let settings = self.settings.clone();
        let any_ready = self.nodes.values().any(|node| node.is_live(&settings, now));
        let is_missing = |node: &Node| node.is_ours() && (node.awaited || node.is_silent(&settings, now));
        let any_missing = self.nodes.values().any(is_missing);
        self.blackout = Blackout::next(self.blackout, any_ready, any_missing, settings.lost_after_ms, now);
        if self.blackout.is_some() {
            return;
        }
        for node in self.nodes.values_mut() {
            node.awaited = false;
            if let Some(ms) = node.contact.silent_ms(now).filter(|ms| *ms >= settings.lost_after_ms) {
                let why = format!("nothing was heard of it for {}.{} s", ms / 1000, ms % 1000 / 100);
                node.contact = Contact::Lost { why, process_gone: false };
            }
        }
    }
}
