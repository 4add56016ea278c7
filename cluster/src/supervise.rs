//! The life of one replica on its node, as a state machine: `(state, event, now) -> (state, effects)`.
//!
//! Absent from here: processes, ports, files. The agent carries the effects out and reports what came of them; what it reports
//! about an attempt that is over is ignored. The table is in docs/states.md.

use crate::app::{AppSpec, RestartPolicy};
pub use crate::exit::Exit;
use crate::now::Now;
use crate::wire::{AssignedPhase, ObservedPhase};

/// What of an app's spec the life of a replica depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Between SIGTERM and SIGKILL, in milliseconds.
    pub grace_ms: u64,
    /// When a process that ended is started again.
    pub restart: RestartPolicy,
}

impl From<&AppSpec> for Rules {
    fn from(spec: &AppSpec) -> Self {
        Rules { grace_ms: spec.grace_ms, restart: spec.restart.clone() }
    }
}

/// One replica, as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What of its spec matters here.
    pub rules: Rules,
    /// What the assignment wants of it.
    pub wanted: AssignedPhase,
    /// Counts the starts of its process, from 1.
    pub attempt: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The next attempt's port is kept bound, not listening, while it lives. Some programs cannot bind beside that: after a
    /// failure to become ready one attempt is made without it.
    pub reserve_port: bool,
    /// Where it is.
    pub state: State,
    /// Why its last process ended, or could not be started.
    pub last_failure: Option<String>,
}

/// Where a replica is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The guardian was asked to start its process.
    Spawning,
    /// Its process is there and does not accept connections yet.
    Starting {
        /// Its process.
        pid: u32,
    },
    /// It accepts connections.
    Running {
        /// Its process.
        pid: u32,
        /// Since when, in monotonic milliseconds.
        ready_at_ms: u64,
    },
    /// Told to end: SIGTERM was sent to its group.
    Terminating {
        /// SIGKILL for what is left by then, in monotonic milliseconds.
        kill_at_ms: u64,
    },
    /// What is left of its processes got SIGKILL; waiting for the last of them to be gone.
    Killing {
        /// Whether another attempt may follow.
        then: Then,
        /// SIGKILL again if something is still left by then: a process may have forked meanwhile.
        again_at_ms: u64,
    },
    /// No process; the next attempt is made at this time, in monotonic milliseconds.
    Backoff {
        /// When.
        until_ms: u64,
    },
    /// No process, and no other attempt.
    Stopped,
}

/// What follows when the last process of a replica is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another attempt, after a wait of so many milliseconds.
    Restart {
        /// The wait.
        wait_ms: u64,
    },
    /// Nothing.
    Stop,
}

/// What happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The assignment wants this of it. A wish never moves back: draining does not run again, stopping does not drain.
    Wanted(AssignedPhase),
    /// The attempt's process was started.
    Spawned {
        /// Which attempt.
        attempt: u32,
        /// Its process.
        pid: u32,
    },
    /// The attempt's process could not be started.
    SpawnFailed {
        /// Which attempt.
        attempt: u32,
        /// A sentence.
        error: String,
    },
    /// The attempt accepts connections.
    Ready {
        /// Which attempt.
        attempt: u32,
    },
    /// The attempt's first process ended; others of its tree may be left.
    Exited {
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        exit: Exit,
        /// The last line that it wrote, if any.
        last_line: Option<String>,
    },
    /// No process of the attempt is left.
    TreeGone {
        /// Which attempt.
        attempt: u32,
    },
    /// Time passed: see [`Replica::deadline_ms`].
    Tick,
}

/// What the agent is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the process of this attempt.
    Spawn {
        /// Which attempt.
        attempt: u32,
        /// Keep its port reserved beside it.
        reserve_port: bool,
    },
    /// Watch for the attempt's port to accept a connection, and say [`Event::Ready`].
    Probe {
        /// Which attempt.
        attempt: u32,
    },
    /// SIGTERM to the attempt's process group.
    Terminate {
        /// Which attempt.
        attempt: u32,
    },
    /// SIGKILL to every process of the attempt's tree.
    Kill {
        /// Which attempt.
        attempt: u32,
    },
}

/// SIGKILL is sent again after so long if something is still left.
const KILL_AGAIN_MS: u64 = 1_000;

impl Replica {
    /// A replica that was just assigned, with the effect that starts it.
    #[must_use]
    pub fn start(rules: Rules) -> (Self, Vec<Effect>) {
        let replica = Replica {
            rules,
            wanted: AssignedPhase::Run,
            attempt: 1,
            failures: 0,
            reserve_port: true,
            state: State::Spawning,
            last_failure: None,
        };
        let effect = Effect::Spawn { attempt: 1, reserve_port: true };
        (replica, vec![effect])
    }

    /// What is reported of it.
    #[must_use]
    pub fn phase(&self) -> ObservedPhase {
        match self.state {
            State::Stopped => ObservedPhase::Stopped,
            State::Terminating { .. } | State::Killing { then: Then::Stop, .. } => ObservedPhase::Stopping,
            // Between two attempts; reported under the number of the one that ended.
            State::Backoff { .. } | State::Killing { then: Then::Restart { .. }, .. } => ObservedPhase::Backoff,
            _ if self.wanted == AssignedPhase::Stop => ObservedPhase::Stopping,
            _ if self.wanted == AssignedPhase::Drain => ObservedPhase::Draining,
            State::Spawning | State::Starting { .. } => ObservedPhase::Starting,
            State::Running { .. } => ObservedPhase::Running,
        }
    }

    /// Requests may go to it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { .. }) && self.wanted == AssignedPhase::Run
    }

    /// Its first process, while that is known to be there.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Starting { pid } | State::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// When it must get an [`Event::Tick`] at the latest, in monotonic milliseconds.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Terminating { kill_at_ms } => Some(kill_at_ms),
            State::Killing { again_at_ms, .. } => Some(again_at_ms),
            State::Backoff { until_ms } => Some(until_ms),
            _ => None,
        }
    }

    fn killing(mut self, then: Then, now: Now) -> (Self, Vec<Effect>) {
        self.state = State::Killing { then, again_at_ms: now.plus_ms(KILL_AGAIN_MS).mono_ms };
        let attempt = self.attempt;
        (self, vec![Effect::Kill { attempt }])
    }

    /// Counts a failure of the present attempt and tells what follows it.
    fn failed(&mut self, why: String, now: Now) -> Then {
        let was_ready_ms = match self.state {
            State::Running { ready_at_ms, .. } => Some(now.since_ms(ready_at_ms)),
            _ => None,
        };
        if was_ready_ms.is_some_and(|ms| ms >= self.rules.restart.reset_after_ms) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.reserve_port = was_ready_ms.is_some() || !self.reserve_port;
        self.last_failure = Some(why);
        if self.wanted == AssignedPhase::Run { Then::Restart { wait_ms: self.rules.restart.wait_ms(self.failures) } } else { Then::Stop }
    }

    /// The last process is gone.
    fn gone(mut self, then: Then, now: Now) -> (Self, Vec<Effect>) {
        match then {
            Then::Restart { wait_ms } if self.wanted == AssignedPhase::Run => {
                if wait_ms == 0 {
                    return self.next_attempt();
                }
                self.state = State::Backoff { until_ms: now.plus_ms(wait_ms).mono_ms };
            }
            _ => self.state = State::Stopped,
        }
        (self, vec![])
    }

    fn next_attempt(mut self) -> (Self, Vec<Effect>) {
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Spawning;
        let effect = Effect::Spawn { attempt: self.attempt, reserve_port: self.reserve_port };
        (self, vec![effect])
    }
}

/// One step of a replica's life.
#[must_use]
pub fn step(mut replica: Replica, event: Event, now: Now) -> (Replica, Vec<Effect>) {
    let attempt = replica.attempt;
    match (replica.state.clone(), event) {
        (_, Event::Wanted(wanted)) if wanted > replica.wanted => {
            replica.wanted = wanted;
            match (replica.state.clone(), wanted) {
                (State::Backoff { .. }, _) => replica.state = State::Stopped,
                (State::Killing { again_at_ms, .. }, _) => replica.state = State::Killing { then: Then::Stop, again_at_ms },
                (State::Starting { .. } | State::Running { .. }, AssignedPhase::Stop) => {
                    replica.state = State::Terminating { kill_at_ms: now.plus_ms(replica.rules.grace_ms).mono_ms };
                    return (replica, vec![Effect::Terminate { attempt }]);
                }
                // Spawning: what the guardian answers decides.
                _ => {}
            }
            (replica, vec![])
        }

        (State::Spawning, Event::Spawned { attempt: of, pid }) if of == attempt => {
            if replica.wanted == AssignedPhase::Stop {
                replica.state = State::Terminating { kill_at_ms: now.plus_ms(replica.rules.grace_ms).mono_ms };
                return (replica, vec![Effect::Terminate { attempt }]);
            }
            replica.state = State::Starting { pid };
            (replica, vec![Effect::Probe { attempt }])
        }
        (State::Spawning, Event::SpawnFailed { attempt: of, error }) if of == attempt => {
            let then = replica.failed(error, now);
            // Nothing was started, so no port was in the way either.
            replica.reserve_port = true;
            replica.gone(then, now)
        }

        (State::Starting { pid }, Event::Ready { attempt: of }) if of == attempt => {
            replica.state = State::Running { pid, ready_at_ms: now.mono_ms };
            (replica, vec![])
        }

        (State::Spawning | State::Starting { .. } | State::Running { .. }, Event::Exited { attempt: of, exit, last_line })
            if of == attempt =>
        {
            let why = match last_line {
                Some(line) => format!("{exit}; its last line: {line}"),
                None => exit.to_string(),
            };
            let then = replica.failed(why, now);
            replica.killing(then, now)
        }

        (State::Killing { then, .. }, Event::TreeGone { attempt: of }) if of == attempt => replica.gone(then, now),
        // A tree that is gone without a word about its first process: the guardian died.
        (State::Spawning | State::Starting { .. } | State::Running { .. }, Event::TreeGone { attempt: of }) if of == attempt => {
            let then = replica.failed(Exit::Unknown.to_string(), now);
            replica.gone(then, now)
        }
        (State::Terminating { .. }, Event::TreeGone { attempt: of }) if of == attempt => replica.gone(Then::Stop, now),

        (State::Terminating { kill_at_ms }, Event::Tick) if now.mono_ms >= kill_at_ms => replica.killing(Then::Stop, now),
        (State::Killing { then, again_at_ms }, Event::Tick) if now.mono_ms >= again_at_ms => replica.killing(then, now),
        (State::Backoff { until_ms }, Event::Tick) if now.mono_ms >= until_ms => replica.next_attempt(),

        // What is left is about an attempt that is over, or nothing new.
        _ => (replica, vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> Rules {
        Rules { grace_ms: 10_000, restart: RestartPolicy::default() }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn exited(attempt: u32) -> Event {
        Event::Exited { attempt, exit: Exit::Code(1), last_line: Some("boom".to_owned()) }
    }

    fn run(events: Vec<(Event, u64)>) -> (Replica, Vec<Effect>) {
        let (mut replica, mut effects) = Replica::start(rules());
        for (event, ms) in events {
            (replica, effects) = step(replica, event, at(ms));
        }
        (replica, effects)
    }

    #[test]
    fn a_crash_is_followed_by_a_new_attempt_at_once_and_by_waits_after_that() {
        let (replica, effects) = run(vec![
            (Event::Spawned { attempt: 1, pid: 7 }, 0),
            (Event::Ready { attempt: 1 }, 1),
            (exited(1), 2),
            (Event::TreeGone { attempt: 1 }, 3),
        ]);
        assert_eq!(effects, [Effect::Spawn { attempt: 2, reserve_port: true }]);
        let (replica, _) = step(replica, Event::Spawned { attempt: 2, pid: 8 }, at(3));
        let (replica, _) = step(replica, Event::Ready { attempt: 2 }, at(4));
        let (replica, _) = step(replica, exited(2), at(5));
        let (replica, effects) = step(replica, Event::TreeGone { attempt: 2 }, at(6));
        assert_eq!((replica.phase(), effects), (ObservedPhase::Backoff, vec![]));
        assert_eq!(replica.deadline_ms(), Some(106));
        let (replica, effects) = step(replica, Event::Tick, at(106));
        assert_eq!(effects, [Effect::Spawn { attempt: 3, reserve_port: true }]);
        assert_eq!(replica.last_failure.as_deref(), Some("its process exited with code 1; its last line: boom"));
    }

    #[test]
    fn a_program_that_never_got_ready_is_tried_once_without_a_reserved_port_beside_it() {
        let (_, effects) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (exited(1), 2), (Event::TreeGone { attempt: 1 }, 3)]);
        assert_eq!(effects, [Effect::Spawn { attempt: 2, reserve_port: false }]);
    }

    #[test]
    fn a_replica_that_was_ready_for_long_starts_again_from_no_wait() {
        let (mut replica, _) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (Event::Ready { attempt: 1 }, 0)]);
        replica.failures = 9;
        let (replica, _) = step(replica, exited(1), at(10_000));
        assert_eq!(replica.failures, 1);
    }

    #[test]
    fn a_stop_is_sigterm_then_grace_then_sigkill_for_what_is_left() {
        let (replica, effects) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (Event::Wanted(AssignedPhase::Stop), 5)]);
        assert_eq!(effects, [Effect::Terminate { attempt: 1 }]);
        let (replica, effects) = step(replica, exited(1), at(6));
        assert_eq!((replica.phase(), effects), (ObservedPhase::Stopping, vec![]), "its children have the grace too");
        let (replica, effects) = step(replica, Event::Tick, at(10_005));
        assert_eq!(effects, [Effect::Kill { attempt: 1 }]);
        let (replica, _) = step(replica, Event::TreeGone { attempt: 1 }, at(10_006));
        assert_eq!(replica.state, State::Stopped);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let attempt = 1u32..5;
        prop_oneof![
            prop_oneof![Just(AssignedPhase::Run), Just(AssignedPhase::Drain), Just(AssignedPhase::Stop)].prop_map(Event::Wanted),
            attempt.clone().prop_map(|attempt| Event::Spawned { attempt, pid: attempt }),
            attempt.clone().prop_map(|attempt| Event::SpawnFailed { attempt, error: "no".to_owned() }),
            attempt.clone().prop_map(|attempt| Event::Ready { attempt }),
            attempt.clone().prop_map(exited),
            attempt.prop_map(|attempt| Event::TreeGone { attempt }),
            Just(Event::Tick),
        ]
    }

    proptest! {
        #[test]
        fn attempt_and_phase_only_move_forward(events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
            let (mut replica, _) = Replica::start(rules());
            let mut now = at(0);
            for (event, pause) in events {
                now = now.plus_ms(pause);
                let before = (replica.attempt, replica.phase());
                replica = step(replica, event, now).0;
                prop_assert!((replica.attempt, replica.phase()) >= before, "{:?} after {:?}", replica, before);
            }
        }

        #[test]
        fn two_processes_of_one_replica_never_live_at_once(events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
            let (mut replica, effects) = Replica::start(rules());
            let mut now = at(0);
            // The attempt that was asked for and is not known to be gone.
            let mut alive = effects.len();
            for (event, pause) in events {
                now = now.plus_ms(pause);
                let ends = matches!(event, Event::TreeGone { attempt } | Event::SpawnFailed { attempt, .. } if attempt == replica.attempt);
                let (next, effects) = step(replica.clone(), event, now);
                if ends && next != replica {
                    alive = 0;
                }
                alive += effects.iter().filter(|effect| matches!(effect, Effect::Spawn { .. })).count();
                prop_assert!(alive <= 1);
                replica = next;
            }
        }

        #[test]
        fn a_replica_that_is_to_stop_is_never_started_again(events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
            let (replica, _) = Replica::start(rules());
            let (mut replica, _) = step(replica, Event::Wanted(AssignedPhase::Stop), at(0));
            for (event, pause) in events {
                let (next, effects) = step(replica, event, at(pause));
                let spawned = effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }));
                prop_assert!(!spawned);
                replica = next;
            }
        }
    }
}
