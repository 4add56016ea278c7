//! Watching a replica: its checks are carried out when they are due, and what they mean for it is handed on.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::ReplicaId;
use cluster::health::{self, Health, Kind};
use cluster::supervise::{Event, State};

use super::{Owner, TURN_MAX};
use crate::check::{Done, Errand};
use crate::slot::{Probe, Slot};

/// The checks of the present attempt of a replica.
#[derive(Debug)]
pub struct Watched {
    /// How they stand.
    pub health: Health,
    /// Ends those that are under way with it.
    under_way: BTreeMap<usize, Probe>,
    /// Ends with it: what listens to the replica.
    _listener: Option<Probe>,
    /// Where it stands in the owner's agenda.
    due_ms: Option<u64>,
}

impl Owner {
    /// Watches an attempt whose process was started.
    pub(super) fn watch(&mut self, id: ReplicaId, attempt: u32) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let checks = &slot.spec.health;
        let port_decides = health::port_decides(checks);
        if !checks.is_empty() {
            // One that was taken over may have been ready before.
            let health = Health::resume(checks, seed(id, attempt), slot.replica.was_ready(), now);
            let listener = match (&mut slot.attempt.voice, slot.attempt.pid) {
                (Some(voice), Some(root)) => voice.listen(id, attempt, root, self.words.0.clone()),
                _ => None,
            };
            let listener = listener.map(|listener| Probe(self.listeners.spawn(listener)));
            slot.attempt.watched = Some(Watched { health, under_way: BTreeMap::new(), _listener: listener, due_ms: None });
            self.check(id, health::Event::Tick);
        }
        if port_decides {
            self.probe(id, attempt);
        }
    }

    /// An attempt that is neither starting nor running is not watched.
    pub(super) fn stop_watching(&mut self, id: ReplicaId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if matches!(slot.replica.state, State::Starting { .. } | State::Running { .. }) {
            return;
        }
        slot.attempt.probe = None;
        if let Some(due_ms) = slot.attempt.watched.take().and_then(|watched| watched.due_ms) {
            self.agenda.remove(&(due_ms, id));
        }
    }

    /// Something happened to a replica's checks.
    pub(super) fn check(&mut self, id: ReplicaId, event: health::Event) {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(watched) = &mut slot.attempt.watched else { return };
        let effects = watched.health.step(event, now);
        if watched.health.take_news() {
            self.dirty.insert(id);
        }
        let due_ms = watched.health.due_ms();
        if watched.due_ms != due_ms {
            self.agenda.extend(due_ms.map(|at| (at, id)));
            if let Some(before) = std::mem::replace(&mut watched.due_ms, due_ms) {
                self.agenda.remove(&(before, id));
            }
        }
        let attempt = slot.replica.attempt;
        for effect in effects {
            match effect {
                health::Effect::CarryOut(nth) => self.carry_out_check(Errand { id, attempt, nth }),
                health::Effect::Ready => self.feed(id, Event::Ready { attempt }),
                health::Effect::Unready => self.feed(id, Event::Unready { attempt }),
                health::Effect::Unhealthy(why) => self.feed(id, Event::Unhealthy { attempt, why }),
            }
        }
    }

    fn carry_out_check(&mut self, errand: Errand) {
        let Some(slot) = self.slots.get_mut(&errand.id) else { return };
        let Slot { spec, attempt, .. } = slot;
        let (Some(check), Some(port), Some(watched)) = (spec.health.get(errand.nth), attempt.port, &mut attempt.watched) else { return };
        let nth = errand.nth;
        match &check.kind {
            Kind::Http { .. } | Kind::Tcp => {
                let task = self.checks.start(errand, check, port);
                watched.under_way.insert(nth, Probe(task));
            }
            Kind::Exec { .. } => self.commands_wait(errand),
            // Nobody asks: it is told.
            Kind::Push => {}
        }
    }

    /// A check was carried out.
    pub(super) fn checked(&mut self, done: Done) {
        self.figures.checks.count(done.kind, done.result.is_ok(), done.took);
        let Errand { id, attempt, nth } = done.errand;
        if self.slots.get(&id).is_some_and(|slot| slot.replica.attempt == attempt) {
            self.check(id, health::Event::Done(nth, done.result));
        }
    }

    /// A replica said something of itself.
    pub(super) fn heard(&mut self, id: ReplicaId, attempt: u32, push: health::Push) {
        let is_present = |slot: &Slot| slot.replica.attempt == attempt && slot.attempt.watched.is_some();
        if self.slots.get(&id).is_some_and(is_present) {
            let passed = matches!(push, health::Push::Ready | health::Push::Alive);
            self.figures.checks.count("push", passed, Duration::ZERO);
            self.check(id, health::Event::Pushed(push));
        }
    }

    /// Somebody called the URL of a replica. False when it is not the URL of an attempt that runs.
    pub(super) fn called(&mut self, id: ReplicaId, token: &str, push: health::Push) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let is_its_own = slot.attempt.voice.as_ref().is_some_and(|voice| voice.token == token);
        // One that calls before it is known to have started is told to try again.
        let is_heard = is_its_own && slot.attempt.watched.is_some();
        if is_heard {
            self.heard(id, slot.replica.attempt, push);
        }
        is_heard
    }

    /// Sees to the checks that are due, so many in one turn.
    pub(super) fn tick_checks(&mut self, now_ms: u64) {
        for _ in 0..TURN_MAX {
            let Some((due_ms, id)) = self.agenda.first().copied().filter(|(due_ms, _)| *due_ms <= now_ms) else { return };
            self.agenda.remove(&(due_ms, id));
            if let Some(watched) = self.slots.get_mut(&id).and_then(|slot| slot.attempt.watched.as_mut()) {
                watched.due_ms = None;
            }
            self.check(id, health::Event::Tick);
        }
    }
}

/// Which point of their intervals the checks of an attempt have: its own, and the same for the same attempt.
fn seed(id: ReplicaId, attempt: u32) -> u64 {
    let [high, low] = [id.0 >> 64, id.0 & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    high ^ low.rotate_left(attempt)
}
