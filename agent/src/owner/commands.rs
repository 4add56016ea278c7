//! Checks that are commands: the guardian carries them out, a few at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use cluster::health::Kind;

use super::Owner;
use crate::check::{Done, Errand, brief, too_late};
use crate::guardian::protocol::{Attempt, Check, CheckEnd, Command};

/// The most commands at a time.
const COMMANDS_MAX: usize = 8;

/// Those that are carried out, and those that wait. A replica has one of each check at most.
#[derive(Debug, Default)]
pub struct Commands {
    under_way: BTreeMap<(Attempt, usize), Instant>,
    waiting: VecDeque<Errand>,
}

impl Owner {
    /// One more, at the end of the line.
    pub(super) fn commands_wait(&mut self, errand: Errand) {
        self.commands.waiting.push_back(errand);
        self.start_commands();
    }

    fn start_commands(&mut self) {
        while self.commands.under_way.len() < COMMANDS_MAX
            && let Some(errand) = self.commands.waiting.pop_front()
        {
            if let Err(error) = self.start_command(&errand) {
                self.checked(Done { errand, result: Err(brief(error)), kind: "exec", took: Duration::ZERO });
            }
        }
    }

    /// Tells the guardian. A check whose attempt is over by now is left out.
    fn start_command(&mut self, errand: &Errand) -> Result<(), String> {
        let Some(slot) = self.slots.get(&errand.id).filter(|slot| slot.replica.attempt == errand.attempt) else { return Ok(()) };
        let (Some(spawn), Some(check)) = (&slot.attempt.spawn, slot.spec.health.get(errand.nth)) else { return Ok(()) };
        let Kind::Exec { command } = &check.kind else { return Ok(()) };
        let Some((name, args)) = command.split_first().filter(|_| slot.attempt.watched.is_some()) else { return Ok(()) };
        let mut spawn = (**spawn).clone();
        let search = slot.attempt.lease.as_ref().map_or_else(|| self.search.clone(), |lease| self.search.within(lease.tree()));
        spawn.program = search.find(name).map_err(|e| format!("cannot be started: {e}"))?;
        spawn.args = args.to_vec();
        // The socket is its replica's alone.
        spawn.socket = None;
        let attempt = spawn.attempt;
        self.keeper.send(&Command::Check(Box::new(Check { spawn, nth: errand.nth, timeout_ms: check.timeout_ms })));
        self.commands.under_way.insert((attempt, errand.nth), Instant::now());
        Ok(())
    }

    /// The guardian carried one out.
    pub(super) fn command_ended(&mut self, of: Attempt, nth: usize, end: CheckEnd) {
        let began = self.commands.under_way.remove(&(of, nth));
        let limit_ms = self.timeout_ms(of.id, nth);
        let result = match end {
            CheckEnd::Passed => Ok(()),
            CheckEnd::Failed(words) | CheckEnd::NotStarted(words) => Err(brief(words)),
            CheckEnd::TooLate => Err(too_late(limit_ms)),
        };
        let took = began.map(|began| began.elapsed()).unwrap_or_default();
        self.checked(Done { errand: Errand { id: of.id, attempt: of.attempt, nth }, result, kind: "exec", took });
        self.start_commands();
    }

    fn timeout_ms(&self, id: ReplicaId, nth: usize) -> u64 {
        self.slots.get(&id).and_then(|slot| slot.spec.health.get(nth)).map_or(0, |check| check.timeout_ms)
    }
}
