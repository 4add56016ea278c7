//! One replica's events and what follows from them.

use std::io::ErrorKind;
use std::sync::Arc;

use cluster::ReplicaId;
use cluster::health;
use cluster::run_as::{Sandbox, SocketMode};
use cluster::supervise::{Effect, Event, State, step};
use cluster::wire::{AssignedPhase, ObservedPhase};

use super::Owner;
use crate::artifact::{Lease, Wish};
use crate::check::Voice;
use crate::guardian::protocol::{Attempt, Command, HandedOver, Spawn};
use crate::port::Reservation;
use crate::probe;
use crate::program::{self, Identity};
use crate::runtime_dir;
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
        if slot.replica.wanted != AssignedPhase::Run {
            self.sockets.leaves(id);
        }
        if slot.replica.failures > before.1 {
            self.figures.failures_total += 1;
        }
        tell(id, slot, before.0, before.1, now.since_ms(slot.attempt.started_at_ms));
        self.carry_out(id, effects);
        self.stop_watching(id);
        self.give_up_fetch(id);
        if self.slots.get(&id).is_some_and(|slot| slot.replica.state == State::Stopped) {
            self.retire(id);
        } else {
            self.write_down(id);
        }
    }

    /// Does what a replica's state machine says.
    pub(super) fn carry_out(&mut self, id: ReplicaId, effects: Vec<Effect>) {
        self.dirty.insert(id);
        for effect in effects {
            match effect {
                Effect::Spawn { attempt, reserve_port } => {
                    self.figures.starts_total += 1;
                    let artifact = self.slots.get(&id).and_then(|slot| slot.spec.artifact.clone());
                    if let Some(artifact) = artifact {
                        self.fetch(&artifact, Wish { id, attempt, reserve_port });
                    } else if let Err(error) = self.spawn(id, attempt, reserve_port, None) {
                        self.failed.push_back((id, Event::SpawnFailed { attempt, error }));
                    }
                }
                Effect::Watch { attempt } => self.watch(id, attempt),
                Effect::Terminate { attempt } => self.keeper.send(&Command::Terminate(Attempt { id, attempt })),
                Effect::Kill { attempt } => self.keeper.send(&Command::Kill(Attempt { id, attempt })),
            }
        }
    }

    /// Starts an attempt, in its artifact if it has one.
    pub(super) fn spawn(&mut self, id: ReplicaId, attempt: u32, reserve_port: bool, lease: Option<Arc<Lease>>) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(()) };
        slot.spec.limits.check().map_err(|e| e.to_string())?;
        slot.spec.run_as.check().map_err(|e| e.to_string())?;
        slot.spec.sandbox.iter().try_for_each(Sandbox::check).map_err(|e| e.to_string())?;
        health::validate(&slot.spec.health).map_err(|e| e.to_string())?;
        let limits = slot.spec.limits.clone();
        let tree = lease.as_ref().map(|lease| lease.tree().to_owned());
        let search = tree.as_ref().map_or_else(|| self.search.clone(), |tree| self.search.within(tree));
        // The guardian knows the port of a socket that it hands over.
        let is_passed = slot.spec.socket == SocketMode::Pass;
        let reservation = if is_passed { None } else { Some(Reservation::new().map_err(|e| format!("there is no free port: {e}"))?) };
        let port = reservation.as_ref().map(Reservation::port);
        self.uses.open(&slot.spec.uses).map_err(|e| e.to_string())?;
        let addresses = self.uses.variables(&slot.spec.uses);
        let identity = Identity { id, app: &slot.app, node: &self.facts.name, port: port.unwrap_or(0), addresses: &addresses };
        let mut invocation = program::invocation(&search, &slot.spec, identity).map_err(|e| e.to_string())?;
        let directory = self.runtime.replica(id);
        if slot.spec.run_as.names_somebody() {
            self.runtime.let_through(id).map_err(|e| format!("its directory {} cannot be made: {e}", directory.display()))?;
        }
        let has_tmp = slot.spec.run_as.private_tmp || slot.spec.sandbox.is_some();
        let private_tmp = has_tmp.then(|| runtime_dir::tmp_of(id));
        if let Some(path) = &private_tmp {
            invocation.env.entry("TMPDIR".to_owned()).or_insert_with(|| path.display().to_string());
        }
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
            artifact: tree,
            lease: lease.as_ref().map(|lease| lease.lock_path().to_owned()),
            directory,
            cgroup: self.keeper.cgroup(Attempt { id, attempt }),
            limiters: if limits.need_cgroup() { self.keeper.limiters(Attempt { id, attempt }) } else { vec![] },
            limits,
            strict_limits: slot.spec.strict_limits,
            log: self.logs.of(&slot.app, id),
            log_spec: slot.spec.logs,
            run_as: slot.spec.run_as.clone(),
            sandbox: slot.spec.sandbox.clone(),
            private_tmp,
            socket: is_passed
                .then(|| HandedOver { socket: self.sockets.of(&slot.app, id, self.clock.now().mono_ms), name: slot.app.to_string() }),
        };
        let has_commands = slot.spec.health.iter().any(|check| matches!(check.kind, health::Kind::Exec { .. }));
        slot.attempt = slot::Attempt {
            port,
            _reservation: reservation.filter(|_| reserve_port),
            voice,
            lease,
            spawn: has_commands.then(|| Box::new(spawn.clone())),
            ..slot::Attempt::default()
        };
        // First: what is started must be known to the next agent.
        self.record(id)?;
        self.keeper.send(&Command::Spawn(Box::new(spawn)));
        Ok(())
    }

    pub(super) fn probe(&mut self, id: ReplicaId, attempt: u32) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(port) = slot.attempt.port else { return };
        let is_passed = slot.spec.socket == SocketMode::Pass;
        let task = self.probes.spawn(async move {
            // A socket that is handed over accepts before anybody is there to serve.
            if is_passed {
                probe::until_settled().await
            } else {
                probe::until_ready(port).await
            }
            (id, attempt)
        });
        slot.attempt.probe = Some(Probe(task));
    }

    /// A replica is over.
    pub(super) fn retire(&mut self, id: ReplicaId) {
        let Some(slot) = self.slots.remove(&id) else { return };
        self.gone.push(slot.report(id, self.clock.now()));
        self.dirty.remove(&id);
        self.keeper.send(&Command::Forget { id });
        self.sockets.gone(id, self.clock.now().mono_ms);
        let has_tmp = slot.spec.run_as.private_tmp || slot.spec.sandbox.is_some();
        self.remove_files(id, has_tmp);
        self.log_ended(&slot, id);
    }
}

impl Owner {
    /// Removes what lies there of a replica that is gone: pipes at once, temporary files, of which there may be many, beside everything else.
    pub(super) fn remove_files(&mut self, id: ReplicaId, has_tmp: bool) {
        let directory = self.runtime.replica(id);
        let remove = move || match runtime_dir::remove_replica(&directory) {
            Err(e) if e.kind() != ErrorKind::NotFound => tracing::warn!(replica = %id, "cannot remove its files: {e}"),
            _ => {}
        };
        if has_tmp {
            self.removals.spawn_blocking(remove);
        } else {
            remove();
        }
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
