//! Obeying an assignment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::ReplicaId;
use cluster::app::{ABILITY_HEALTH, ABILITY_RESTART_WHEN, ABILITY_USES};
use cluster::artifact::ABILITY_ARTIFACT;
use cluster::fence::{self, Held, Verdict};
use cluster::placeholder::ABILITY_PLACEHOLDERS;
use cluster::run_as::{ABILITY_RUN_AS, ABILITY_SANDBOX, ABILITY_SOCKET};
use cluster::supervise::{Event, Replica, Rules};
use cluster::wire::{AssignedPhase, AssignedReplica, Assignment, Stamp};

use super::{Owner, Refused};
use crate::slot::Slot;

/// What this agent can do beyond the basics, by the names that an assignment's `requires` may hold.
const ABILITIES: &[&str] = &[
    ABILITY_ARTIFACT,
    ABILITY_HEALTH,
    ABILITY_PLACEHOLDERS,
    ABILITY_RESTART_WHEN,
    ABILITY_RUN_AS,
    ABILITY_SANDBOX,
    ABILITY_SOCKET,
    ABILITY_USES,
];

/// The shortest wait before the second restart in a row and each one after it, in milliseconds.
const RESTART_MS_MIN: u64 = 20;

impl Owner {
    pub(super) fn assign(&mut self, assignment: Assignment) -> Result<Stamp, Refused> {
        let verdict = fence::judge(self.held, !self.slots.is_empty(), ABILITIES, &assignment).map_err(|refusal| {
            self.figures.refused_total += 1;
            tracing::warn!("refused an assignment: {refusal}");
            Refused { refusal, held: self.held }
        })?;
        let stamp = assignment.stamp;
        self.lease_until_ms = self.clock.now().plus_ms(assignment.lease_ms).mono_ms;
        if verdict == Verdict::Apply {
            tracing::debug!(%stamp, replicas = assignment.replicas.len(), "obeying an assignment");
            if self.held.cluster != Some(assignment.cluster) {
                tracing::info!(cluster = %assignment.cluster, "listening to this cluster");
            }
            self.held = Held { cluster: Some(assignment.cluster), stamp: Some(stamp) };
            self.uses.listen_to(assignment.cluster);
            self.apply(assignment);
            // After what it brought: an agent that is killed in between gets it again.
            self.write_obeyed();
            // Watchers learn at once that it is obeyed.
            self.observers.heartbeat(None, self.standing());
        }
        Ok(stamp)
    }

    fn apply(&mut self, assignment: Assignment) {
        let wanted: BTreeSet<ReplicaId> = assignment.replicas.iter().map(|replica| replica.id).collect();
        let unwanted: Vec<ReplicaId> = self.slots.keys().filter(|id| !wanted.contains(id)).copied().collect();
        for id in unwanted {
            self.feed(id, Event::Wanted(AssignedPhase::Stop));
        }
        let specs: BTreeMap<String, Arc<_>> = assignment.specs.into_iter().map(|(key, spec)| (key, Arc::new(spec))).collect();
        // First who is to go: a new replica may take over what one of them has.
        let (known, new): (Vec<_>, Vec<_>) = assignment.replicas.iter().partition(|replica| self.slots.contains_key(&replica.id));
        for replica in known {
            self.feed(replica.id, Event::Wanted(replica.phase));
        }
        for replica in new {
            if let Some(spec) = specs.get(&replica.spec_key()) {
                self.begin(replica, Arc::clone(spec));
            }
        }
    }

    /// Starts a replica that is new here. One that is to drain or stop is over already; an agent that leaves starts nothing.
    fn begin(&mut self, assigned: &AssignedReplica, spec: Arc<cluster::AppSpec>) {
        if assigned.phase != AssignedPhase::Run || self.goodbye.is_some() {
            return;
        }
        let (replica, effects) = Replica::start(self.rules(&spec));
        self.slots.insert(assigned.id, Slot::new(assigned, spec, replica));
        self.carry_out(assigned.id, effects);
    }

    /// What of a spec the life of a replica depends on.
    pub(super) fn rules(&self, spec: &cluster::AppSpec) -> Rules {
        let mut rules = Rules::from(spec);
        // A program that cannot be started must not keep its host busy, whatever the app's author wrote.
        rules.restart.first_ms = rules.restart.first_ms.max(RESTART_MS_MIN);
        rules.restart.max_ms = rules.restart.max_ms.max(RESTART_MS_MIN);
        rules
    }

    /// Stops every replica, now.
    pub(super) fn stop_all(&mut self) {
        let running: Vec<ReplicaId> =
            self.slots.iter().filter(|(_, slot)| slot.replica.wanted != AssignedPhase::Stop).map(|(id, _)| *id).collect();
        for id in running {
            self.feed(id, Event::Wanted(AssignedPhase::Stop));
        }
    }
}
