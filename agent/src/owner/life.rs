//! One replica's events and what follows from them.

use cluster::ReplicaId;
use cluster::health;
use cluster::supervise::{Effect, Event, State, step};
use cluster::wire::ObservedPhase;

use super::Owner;
use crate::check::Voice;
use crate::guardian::protocol::{Attempt, Command, Spawn};
use crate::port::Reservation;
use crate::probe;
use crate::program::{self, Identity};
use crate::slot::{self, Probe, Slot};

impl Owner {
    /// Something happened to a replica.
    pub(super) fn feed(&mut self, id: ReplicaId, event: Event) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        note(slot, &event, now.mono_ms);
        let before = (slot.replica.phase(), slot.replica.failures);
        let (replica, effects) = step(slot.replica.clone(), event, now);
        slot.replica = replica;
        if slot.replica.failures > before.1 {
            self.figures.failures_total += 1;
        }
        tell(id, slot, before.0, before.1, now.since_ms(slot.attempt.started_at_ms));
        self.carry_out(id, effects);
        self.stop_watching(id);
        if self.slots.get(&id).is_some_and(|slot| slot.replica.state == State::Stopped) {
            self.retire(id);
        }
    }

    /// Does what a replica's state machine says.
    pub(super) fn carry_out(&mut self, id: ReplicaId, effects: Vec<Effect>) {
        self.dirty.insert(id);
        for effect in effects {
            match effect {
                Effect::Spawn { attempt, reserve_port } => {
                    self.figures.starts_total += 1;
                    if let Err(error) = self.spawn(id, attempt, reserve_port) {
                        self.failed.push_back((id, Event::SpawnFailed { attempt, error }));
                    }
                }
                Effect::Watch { attempt } => self.watch(id, attempt),
                Effect::Terminate { attempt } => self.keeper.send(&Command::Terminate(Attempt { id, attempt })),
                Effect::Kill { attempt } => self.keeper.send(&Command::Kill(Attempt { id, attempt })),
            }
        }
    }

    fn spawn(&mut self, id: ReplicaId, attempt: u32, reserve_port: bool) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(()) };
        slot.spec.limits.check().map_err(|e| e.to_string())?;
        health::validate(&slot.spec.health).map_err(|e| e.to_string())?;
        let limits = slot.spec.limits.clone();
        let reservation = Reservation::new().map_err(|e| format!("there is no free port: {e}"))?;
        let port = reservation.port();
        self.uses.open(&slot.spec.uses).map_err(|e| e.to_string())?;
        let addresses = self.uses.variables(&slot.spec.uses);
        let identity = Identity { id, app: &slot.app, node: &self.facts.name, port, addresses: &addresses };
        let mut invocation = program::invocation(&self.search, &slot.spec, identity).map_err(|e| e.to_string())?;
        let directory = self.runtime.replica(id);
        let voice = Voice::new(&slot.spec.health, &directory, id, self.api)
            .map_err(|e| format!("it cannot be listened to in {}: {e}", directory.display()))?;
        let voice = voice.map(|(voice, env)| {
            invocation.env.extend(env);
            voice
        });
        let spawn = Spawn {
            attempt: Attempt { id, attempt },
            program: invocation.program,
            args: invocation.args,
            env: invocation.env,
            directory,
            cgroup: self.keeper.cgroup(Attempt { id, attempt }),
            limiters: if limits.need_cgroup() { self.keeper.limiters(Attempt { id, attempt }) } else { vec![] },
            limits,
            strict_limits: slot.spec.strict_limits,
            log: self.logs.of(&slot.app, id),
            log_spec: slot.spec.logs,
        };
        let has_commands = slot.spec.health.iter().any(|check| matches!(check.kind, health::Kind::Exec { .. }));
        slot.attempt = slot::Attempt {
            port: Some(port),
            _reservation: reserve_port.then_some(reservation),
            voice,
            spawn: has_commands.then(|| Box::new(spawn.clone())),
            ..slot::Attempt::default()
        };
        self.keeper.send(&Command::Spawn(Box::new(spawn)));
        Ok(())
    }

    pub(super) fn probe(&mut self, id: ReplicaId, attempt: u32) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(port) = slot.attempt.port else { return };
        let task = self.probes.spawn(async move {
            probe::until_ready(port).await;
            (id, attempt)
        });
        slot.attempt.probe = Some(Probe(task));
    }

    /// A replica is over.
    fn retire(&mut self, id: ReplicaId) {
        let Some(slot) = self.slots.remove(&id) else { return };
        self.gone.push(slot.report(id, self.clock.now()));
        self.dirty.remove(&id);
        self.keeper.send(&Command::Forget { id });
        self.runtime.remove_replica(id);
        self.log_ended(&slot, id);
    }
}

/// Keeps what belongs to the present attempt in step with what happened to it.
fn note(slot: &mut Slot, event: &Event, now_ms: u64) {
    let present = slot.replica.attempt;
    match event {
        Event::Spawned { attempt, pid } if *attempt == present => {
            slot.attempt.pid = Some(*pid);
            slot.attempt.started_at_ms = now_ms;
        }
        Event::Exited { attempt, .. } if *attempt == present => {
            slot.attempt.pid = None;
        }
        Event::TreeGone { attempt } | Event::SpawnFailed { attempt, .. } if *attempt == present => {
            slot.attempt = slot::Attempt::default();
        }
        _ => {}
    }
}

/// A line in the log for each turn in a replica's life.
fn tell(id: ReplicaId, slot: &Slot, before: ObservedPhase, failures_before: u32, age_ms: u64) {
    let phase = slot.replica.phase();
    let (app, attempt) = (&slot.app, slot.replica.attempt);
    if slot.replica.failures > failures_before {
        let why = slot.replica.last_ending.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(replica = %id, %app, attempt, "failed: {why}");
    }
    if phase == before {
        return;
    }
    match phase {
        ObservedPhase::Running => {
            tracing::info!(replica = %id, %app, attempt, pid = slot.attempt.pid, port = slot.attempt.port, "ready after {age_ms} ms");
        }
        ObservedPhase::Draining => tracing::info!(replica = %id, %app, "draining"),
        ObservedPhase::Stopping => tracing::info!(replica = %id, %app, "stopping"),
        ObservedPhase::Stopped if slot.replica.is_finished() => {
            tracing::info!(replica = %id, %app, attempt, "finished: {}", slot.replica.detail());
        }
        ObservedPhase::Stopped => tracing::info!(replica = %id, %app, "stopped"),
        ObservedPhase::Starting | ObservedPhase::Backoff => {}
    }
}
