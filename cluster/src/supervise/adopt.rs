//! A replica that goes on under another agent or another guardian: what is written down of its life, and where that goes on.
//!
//! Absent from here: how it is proven that a process is the replica's. The caller tells what was found, and then what is known of its end.

use serde::{Deserialize, Serialize};

use super::{Effect, Ending, Event, Readiness, Replica, Rules, State, Then, step};
use crate::now::Now;
use crate::wire::AssignedPhase;

/// What is kept of a replica for the next agent. Times are not: what was waited for is waited for anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the assignment wants of it.
    pub wanted: AssignedPhase,
    /// The number of its present attempt.
    pub attempt: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the next attempt's port is kept bound beside it.
    pub reserve_port: bool,
    /// How its last attempt ended.
    #[serde(default)]
    pub last_ending: Option<Ending>,
    /// Where it is in its life.
    pub stage: Stage,
}

/// A [`State`] without its process and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its process is to be started.
    Spawning,
    /// Its process is there and has not been ready yet.
    Starting,
    /// It is ready.
    Ready,
    /// It has been ready and is not.
    Unready,
    /// It was told to end.
    Terminating(Then),
    /// What is left of it got SIGKILL.
    Killing(Then),
    /// The next attempt waits, for so many milliseconds in all.
    Backoff(u64),
    /// No other attempt is wanted.
    Finished,
}

impl Kept {
    /// What is to be kept of a replica; nothing of one that is over.
    #[must_use]
    pub fn of(replica: &Replica) -> Option<Self> {
        let stage = match replica.state {
            State::Spawning => Stage::Spawning,
            State::Starting { .. } => Stage::Starting,
            State::Running { ready: Readiness::Ready { .. }, .. } => Stage::Ready,
            State::Running { ready: Readiness::Unready, .. } => Stage::Unready,
            State::Terminating { then, .. } => Stage::Terminating(then),
            State::Killing { then, .. } => Stage::Killing(then),
            State::Backoff { wait_ms, .. } => Stage::Backoff(wait_ms),
            State::Finished => Stage::Finished,
            State::Stopped => return None,
        };
        Some(Kept {
            wanted: replica.wanted,
            attempt: replica.attempt,
            failures: replica.failures,
            reserve_port: replica.reserve_port,
            last_ending: replica.last_ending.clone(),
            stage,
        })
    }
}

impl Replica {
    /// A replica of the agent before this one. `found`: the first process of its attempt, where one is proven to be its own.
    ///
    /// Its attempt goes on, so nothing counts as a failure and nothing as a restart, unless its process is gone.
    #[must_use]
    pub fn adopt(kept: Kept, rules: Rules, found: Option<u32>, now: Now) -> (Self, Vec<Effect>) {
        // Where there is none this is not read: the next step says that it is gone.
        let pid = found.unwrap_or_default();
        let state = match kept.stage {
            Stage::Spawning => State::Spawning,
            Stage::Starting => State::Starting { pid },
            Stage::Ready => State::Running { pid, ready: Readiness::Ready { since_ms: now.mono_ms } },
            Stage::Unready => State::Running { pid, ready: Readiness::Unready },
            Stage::Terminating(then) => State::Terminating { then, kill_at_ms: now.plus_ms(rules.grace_ms).mono_ms },
            Stage::Killing(then) => State::Killing { then, again_at_ms: now.mono_ms },
            Stage::Backoff(wait_ms) => State::Backoff { until_ms: now.plus_ms(wait_ms).mono_ms, wait_ms },
            Stage::Finished => State::Finished,
        };
        let Kept { wanted, attempt, failures, reserve_port, last_ending, .. } = kept;
        let is_watched = found.is_some() && matches!(kept.stage, Stage::Starting | Stage::Ready | Stage::Unready);
        let replica = Replica { rules, wanted, attempt, failures, reserve_port, state, last_ending };
        let (replica, mut effects) = replica.resume(found, now);
        if is_watched {
            effects.push(Effect::Watch { attempt });
        }
        (replica, effects)
    }

    /// Another guardian is there, and this is what it has of the present attempt. What the one before it was told last may not have
    /// been done: it is said again.
    #[must_use]
    pub fn resume(self, found: Option<u32>, now: Now) -> (Self, Vec<Effect>) {
        let attempt = self.attempt;
        match (&self.state, found) {
            (State::Spawning, Some(pid)) => step(self, Event::Spawned { attempt, pid }, now),
            (State::Spawning, None) if self.wanted == AssignedPhase::Run => {
                let effect = Effect::Spawn { attempt, reserve_port: self.reserve_port };
                (self, vec![effect])
            }
            // Nobody wants what was not started.
            (State::Spawning, None) => (Replica { state: State::Stopped, ..self }, vec![]),
            (State::Starting { .. } | State::Running { .. } | State::Terminating { .. } | State::Killing { .. }, None) => {
                step(self, Event::TreeGone { attempt }, now)
            }
            (State::Starting { .. } | State::Running { .. }, Some(_)) => (self, vec![]),
            (State::Terminating { .. }, Some(_)) => (self, vec![Effect::Terminate { attempt }]),
            (State::Killing { .. }, Some(_)) => (self, vec![Effect::Kill { attempt }]),
            (State::Backoff { .. } | State::Finished | State::Stopped, None) => (self, vec![]),
            // It should have ended before.
            (State::Backoff { .. } | State::Finished | State::Stopped, Some(_)) => (self, vec![Effect::Kill { attempt }]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::exit::Exit;
    use crate::restart::RestartPolicy;

    fn rules() -> Rules {
        Rules { grace_ms: 10_000, restart: RestartPolicy::default() }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn kept(stage: Stage) -> Kept {
        Kept { wanted: AssignedPhase::Run, attempt: 3, failures: 2, reserve_port: true, last_ending: None, stage }
    }

    fn stages() -> Vec<Stage> {
        let thens = [Then::Restart { wait_ms: 5 }, Then::Finish, Then::Stop];
        let mut stages = vec![Stage::Spawning, Stage::Starting, Stage::Ready, Stage::Unready, Stage::Backoff(7), Stage::Finished];
        stages.extend(thens.into_iter().flat_map(|then| [Stage::Terminating(then), Stage::Killing(then)]));
        stages
    }

    #[test]
    fn a_replica_whose_process_is_there_goes_on_with_no_restart_and_no_failure() {
        for (stage, phase) in [(Stage::Starting, "starting"), (Stage::Ready, "running"), (Stage::Unready, "running")] {
            let (replica, effects) = Replica::adopt(kept(stage), rules(), Some(7), at(5));
            assert_eq!((replica.attempt, replica.failures, replica.pid()), (3, 2, Some(7)), "{stage:?}");
            assert_eq!(effects, [Effect::Watch { attempt: 3 }], "{stage:?}");
            assert_eq!((replica.phase().to_string().as_str(), replica.is_ready()), (phase, stage == Stage::Ready));
        }
        let (replica, effects) = Replica::adopt(kept(Stage::Spawning), rules(), Some(7), at(5));
        assert_eq!((replica.pid(), replica.attempt, effects), (Some(7), 3, vec![Effect::Watch { attempt: 3 }]));
    }

    #[test]
    fn what_was_asked_for_and_not_done_is_asked_for_again() {
        let (replica, effects) = Replica::adopt(kept(Stage::Spawning), rules(), None, at(5));
        assert_eq!((replica.failures, effects), (2, vec![Effect::Spawn { attempt: 3, reserve_port: true }]));
        let (replica, effects) = Replica::adopt(kept(Stage::Terminating(Then::Stop)), rules(), Some(7), at(5));
        assert_eq!((replica.deadline_ms(), effects), (Some(10_005), vec![Effect::Terminate { attempt: 3 }]));
        let (_, effects) = Replica::adopt(kept(Stage::Killing(Then::Stop)), rules(), Some(7), at(5));
        assert_eq!(effects, [Effect::Kill { attempt: 3 }]);
        let (replica, _) = Replica::adopt(kept(Stage::Backoff(400)), rules(), None, at(5));
        assert_eq!(replica.deadline_ms(), Some(405));
        let unwanted = Kept { wanted: AssignedPhase::Drain, ..kept(Stage::Spawning) };
        assert_eq!(Replica::adopt(unwanted, rules(), None, at(5)).0.state, State::Stopped);
    }

    #[test]
    fn a_replica_whose_process_is_gone_is_started_again_by_its_policy_and_one_that_was_to_stop_is_over() {
        let (replica, effects) = Replica::adopt(kept(Stage::Ready), rules(), None, at(5));
        assert_eq!((replica.attempt, replica.failures, &replica.state), (3, 3, &State::Backoff { until_ms: 205, wait_ms: 200 }));
        assert_eq!((replica.last_ending.unwrap().error, effects), (Exit::Unknown.to_string(), vec![]));
        for stage in [Stage::Terminating(Then::Stop), Stage::Killing(Then::Stop)] {
            assert_eq!(Replica::adopt(kept(stage), rules(), None, at(5)).0.state, State::Stopped);
        }
        let draining = Kept { wanted: AssignedPhase::Drain, ..kept(Stage::Ready) };
        assert_eq!(Replica::adopt(draining, rules(), None, at(5)).0.state, State::Stopped);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_is_adopted(nth in 0usize..12, wanted in 0usize..3, found in any::<bool>(), ms in 0u64..1_000_000) {
            let wanted = [AssignedPhase::Run, AssignedPhase::Drain, AssignedPhase::Stop][wanted];
            let before = Kept { wanted, ..kept(stages()[nth]) };
            let (replica, effects) = Replica::adopt(before.clone(), rules(), found.then_some(7), at(ms));
            prop_assert!(replica.attempt == before.attempt || replica.attempt == before.attempt + 1);
            let spawns = effects.iter().filter(|effect| matches!(effect, Effect::Spawn { .. })).count();
            prop_assert!(spawns <= usize::from(!found), "it is never started beside itself");
            if found && replica.state != State::Stopped && before.stage != Stage::Spawning {
                prop_assert_eq!(Kept::of(&replica), Some(before));
            }
        }
    }
}
