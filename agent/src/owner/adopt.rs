//! Replicas that outlive their agent or their guardian: taken over at the start, and again whenever another guardian says what it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::ReplicaId;
use cluster::supervise::{Event, Exit, Kept, Replica, State};
use cluster::wire::AssignedPhase;

use super::Owner;
use crate::check::Voice;
use crate::guardian::protocol::{Attempt, Command, Holding};
use crate::os;
use crate::port::Reservation;
use crate::record::{self, Record};
use crate::slot::{self, Slot};

/// The most ends of children that are remembered until a guardian asks about them.
const REAPED_MAX: usize = 1_024;

impl Owner {
    /// Takes over the replicas on record, with what the guardian has of them. To be called once, before anybody else is heard.
    pub fn adopt(mut self, inventory: Vec<Holding>) -> Self {
        self.held = record::read_obeyed(self.runtime.path());
        let mut holdings = by_replica(inventory);
        let ids = self.runtime.replicas().unwrap_or_else(|e| {
            tracing::error!("cannot tell which replicas the agent before this one had: {e}");
            vec![]
        });
        for id in ids {
            match Record::read(&self.runtime.replica(id), id) {
                Some(record) => self.take_over(record, holdings.remove(&id)),
                // What the guardian has of it is ended below, and what it has not it ended itself.
                None if holdings.contains_key(&id) => {}
                None => self.remove_files(id, true),
            }
        }
        for (id, holding) in holdings {
            tracing::warn!(replica = %id, pid = holding.pid, "it is not on record, so it is ended");
            self.keeper.send(&Command::Kill(holding.attempt));
        }
        if !self.slots.is_empty() {
            tracing::info!(replicas = self.slots.len(), "took over the replicas of the agent before this one");
        }
        self
    }

    fn take_over(&mut self, record: Record, holding: Option<Holding>) {
        let now = self.clock.now();
        let (id, attempt) = (record.id, record.kept.attempt);
        let holding = holding.filter(|holding| holding.attempt.attempt == attempt);
        let directory = self.runtime.replica(id);
        // It knows addresses already: where their ports are free they are the same.
        if let Err(error) = self.uses.open(&record.spec.uses) {
            tracing::warn!(replica = %id, "{error}");
        }
        let Record { app, revision, spec, kept, port, socket, token, spawn, .. } = record;
        if let Some(socket) = socket {
            self.sockets.has(&app, id, socket, kept.wanted != AssignedPhase::Run);
        }
        let (replica, effects) = Replica::adopt(kept, self.rules(&spec), holding.as_ref().map(|holding| holding.pid), now);
        let voice = token.filter(|_| holding.is_some()).map(|token| Voice::resume(token, &directory));
        let voice = voice.transpose().unwrap_or_else(|e| {
            tracing::warn!(replica = %id, "it cannot be listened to in {}: {e}", directory.display());
            None
        });
        let attempt = slot::Attempt {
            port,
            // Refused beside a program that listens there already, and then nobody else gets the port either.
            _reservation: port.filter(|_| replica.reserve_port).and_then(|port| Reservation::again(port).ok()),
            pid: replica.pid(),
            tree: holding.as_ref().map(|holding| holding.tree),
            limits: holding.as_ref().map(|holding| holding.limits.clone()).unwrap_or_default(),
            started_at_ms: now.mono_ms,
            age_before_ms: holding.as_ref().map_or(0, |holding| holding.age_ms),
            voice,
            spawn,
            ..slot::Attempt::default()
        };
        // What follows on a process that is gone is the next attempt, and has nothing of this one.
        let attempt = if holding.is_some() { attempt } else { slot::Attempt::default() };
        let is_over = replica.state == State::Stopped;
        self.slots.insert(id, Slot { attempt, ..Slot::of(app, revision, Arc::new(spec), replica) });
        self.carry_out(id, effects);
        if is_over {
            self.retire(id);
        } else {
            self.write_down(id);
            self.tell_end(holding);
        }
    }

    /// Another guardian is there while this agent lives: what it does not have is gone, and what it was not told is said again.
    pub(super) fn compare(&mut self, inventory: Vec<Holding>) {
        self.commands = super::Commands::default();
        let mut holdings = by_replica(inventory);
        let ids: Vec<ReplicaId> = self.slots.keys().copied().collect();
        for id in ids {
            // One that waits for its artifact is no guardian's yet.
            let Some(slot) = self.slots.get(&id).filter(|slot| slot.attempt.preparing.is_none()) else { continue };
            let holding = holdings.remove(&id).filter(|holding| holding.attempt.attempt == slot.replica.attempt);
            let found = holding.as_ref().map(|holding| holding.pid);
            self.resume(id, found);
            self.tell_end(holding);
        }
        for holding in holdings.into_values() {
            self.keeper.send(&Command::Kill(holding.attempt));
        }
    }

    fn resume(&mut self, id: ReplicaId, found: Option<u32>) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if found.is_none() && slot.attempt.pid.is_some() {
            // How it ended is known if it was this agent's child by then.
            let exit = slot.attempt.pid.and_then(|pid| self.reaped.remove(&pid)).unwrap_or(Exit::Unknown);
            let attempt = slot.replica.attempt;
            self.feed(id, Event::Exited { attempt, exit, last_lines: vec![] });
            self.feed(id, Event::TreeGone { attempt });
            return;
        }
        let was = slot.replica.clone();
        let (replica, effects) = was.resume(found, now);
        slot.replica = replica;
        if let (Some(pid), None) = (slot.replica.pid(), slot.attempt.pid) {
            slot.attempt.pid = Some(pid);
            slot.attempt.started_at_ms = now.mono_ms;
        }
        let is_over = slot.replica.state == State::Stopped;
        self.carry_out(id, effects);
        self.stop_watching(id);
        if is_over {
            self.retire(id);
        } else {
            self.write_down(id);
        }
    }

    /// What a guardian knows of the end of an attempt, it may have said to somebody who is gone.
    fn tell_end(&mut self, holding: Option<Holding>) {
        let Some(Holding { attempt: Attempt { id, attempt }, exit, last_lines, is_gone, .. }) = holding else { return };
        if let Some(exit) = exit {
            self.feed(id, Event::Exited { attempt, exit, last_lines });
        }
        if is_gone {
            self.feed(id, Event::TreeGone { attempt });
        }
    }

    /// Children that ended. Where a guardian died its replicas became this agent's children, and nobody else can tell how they end.
    pub(super) fn reap(&mut self) {
        let ended = os::reap();
        if self.keeper.keeps() {
            self.reaped.extend(ended);
            while self.reaped.len() > REAPED_MAX {
                self.reaped.pop_first();
            }
        }
    }

    /// How a process ended of which its guardian cannot say that.
    pub(super) fn exit_of(&mut self, attempt: Attempt, exit: Exit) -> Exit {
        let pid = self.slots.get(&attempt.id).filter(|slot| slot.replica.attempt == attempt.attempt).and_then(|slot| slot.attempt.pid);
        match (exit, pid) {
            (Exit::Unknown, Some(pid)) => {
                self.reap();
                self.reaped.remove(&pid).unwrap_or(exit)
            }
            _ => exit,
        }
    }

    /// Nothing is left of a replica that is not here.
    pub(super) fn forget_stranger(&mut self, id: ReplicaId) {
        self.keeper.send(&Command::Forget { id });
        self.remove_files(id, true);
    }

    /// Writes down where a replica is in its life, if that has changed. An error is a sentence.
    pub(super) fn record(&mut self, id: ReplicaId) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(&id).filter(|_| self.keeper.keeps()) else { return Ok(()) };
        let Some(kept) = Kept::of(&slot.replica) else { return Ok(()) };
        let is_new = slot.written.as_ref().is_none_or(|(before, port)| *before != kept || *port != slot.attempt.port);
        if !is_new {
            return Ok(());
        }
        let record = Record {
            boot: os::boot().map_err(|e| format!("the boot of this host cannot be told: {e}"))?,
            id,
            app: slot.app.clone(),
            revision: slot.revision,
            spec: (*slot.spec).clone(),
            kept: kept.clone(),
            port: slot.attempt.port,
            socket: self.sockets.had_by(id),
            token: slot.attempt.voice.as_ref().map(|voice| voice.token.clone()),
            spawn: slot.attempt.spawn.clone(),
        };
        record.write(&self.runtime.replica(id)).map_err(|e| e.to_string())?;
        slot.written = Some((kept, slot.attempt.port));
        Ok(())
    }

    /// The same where nothing waits for it: what is on record then is a little older.
    pub(super) fn write_down(&mut self, id: ReplicaId) {
        // A start that could not be written down is said of the replica itself.
        if let Err(why) = self.record(id) {
            tracing::debug!(replica = %id, "{why}");
        }
    }

    /// Writes down whom this agent obeys.
    pub(super) fn write_obeyed(&self) {
        if self.keeper.keeps()
            && let Err(e) = record::write_obeyed(self.runtime.path(), self.held)
        {
            tracing::warn!("{e}");
        }
    }
}

fn by_replica(inventory: Vec<Holding>) -> BTreeMap<ReplicaId, Holding> {
    inventory.into_iter().map(|holding| (holding.attempt.id, holding)).collect()
}
