//! The life of one replica on its node, as a state machine: `(state, event, now) -> (state, effects)`.
//!
//! Absent from here: processes, ports, files, and the checks whose outcome it is told (`health`). The agent carries the effects out and
//! reports what came of them; what it reports about an attempt that is over is ignored. The table of what follows what is in
//! docs/states.md, and a test holds it against [`step`].

mod adopt;
mod ending;
mod step;
#[cfg(test)]
mod tests;

pub use adopt::{Kept, Stage};
pub use ending::{Ending, Step};
pub use step::step;

use serde::{Deserialize, Serialize};

use crate::app::AppSpec;
pub use crate::exit::Exit;
use crate::restart::{RestartPolicy, When};
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
    /// How its last attempt ended.
    pub last_ending: Option<Ending>,
}

/// Where a replica is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The guardian was asked to start its process.
    Spawning,
    /// Its process is there and has not been ready yet.
    Starting {
        /// Its process.
        pid: u32,
    },
    /// It has been ready.
    Running {
        /// Its process.
        pid: u32,
        /// Whether it is ready now.
        ready: Readiness,
    },
    /// Told to end: SIGTERM was sent to its group.
    Terminating {
        /// What follows.
        then: Then,
        /// SIGKILL for what is left by then, in monotonic milliseconds.
        kill_at_ms: u64,
    },
    /// What is left of its processes got SIGKILL; waiting for the last of them to be gone.
    Killing {
        /// What follows.
        then: Then,
        /// SIGKILL again if something is still left by then: a process may have forked meanwhile.
        again_at_ms: u64,
    },
    /// No process; the next attempt is made after a wait.
    Backoff {
        /// When, in monotonic milliseconds.
        until_ms: u64,
        /// How long the wait is in all, in milliseconds.
        wait_ms: u64,
    },
    /// No process, and its policy wants no other attempt. It stays until it is told to go.
    Finished,
    /// No process, no other attempt, and nobody wants it any more.
    Stopped,
}

/// Whether a replica that has been ready is so now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It gets requests.
    Ready {
        /// Since when, in monotonic milliseconds.
        since_ms: u64,
    },
    /// A check keeps requests from it.
    Unready,
}

/// What follows when the last process of a replica is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Another attempt, after a wait of so many milliseconds.
    Restart {
        /// The wait.
        wait_ms: u64,
    },
    /// It stays as it is.
    Finish,
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
    /// Nobody wants the attempt any more, and its process was not started: what it needs was still being made ready.
    GivenUp {
        /// Which attempt.
        attempt: u32,
    },
    /// The attempt is ready, again or for the first time.
    Ready {
        /// Which attempt.
        attempt: u32,
    },
    /// The attempt is not ready any more.
    Unready {
        /// Which attempt.
        attempt: u32,
    },
    /// The attempt failed a check that decides whether it lives.
    Unhealthy {
        /// Which attempt.
        attempt: u32,
        /// A sentence.
        why: String,
    },
    /// The attempt's first process ended; others of its tree may be left.
    Exited {
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        exit: Exit,
        /// The last lines that it wrote, the oldest first.
        last_lines: Vec<String>,
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
    /// Watch the attempt, by its checks or by its port, and say [`Event::Ready`], [`Event::Unready`] and [`Event::Unhealthy`].
    Watch {
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

/// So many failures in a row are a crash loop.
pub const CRASH_LOOP_FAILURES: u32 = 3;

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
            last_ending: None,
        };
        let effect = Effect::Spawn { attempt: 1, reserve_port: true };
        (replica, vec![effect])
    }

    /// What is reported of it.
    #[must_use]
    pub fn phase(&self) -> ObservedPhase {
        match self.state {
            State::Stopped | State::Finished => ObservedPhase::Stopped,
            State::Terminating { then: Then::Stop, .. } | State::Killing { then: Then::Stop, .. } => ObservedPhase::Stopping,
            // Between two attempts; reported under the number of the one that ends.
            State::Backoff { .. }
            | State::Terminating { then: Then::Restart { .. }, .. }
            | State::Killing { then: Then::Restart { .. }, .. } => ObservedPhase::Backoff,
            // It does not wait for another attempt, and it was not told to go: for a moment more it is what it was.
            State::Terminating { then: Then::Finish, .. } | State::Killing { then: Then::Finish, .. } => ObservedPhase::Running,
            _ if self.wanted == AssignedPhase::Stop => ObservedPhase::Stopping,
            _ if self.wanted == AssignedPhase::Drain => ObservedPhase::Draining,
            State::Spawning | State::Starting { .. } => ObservedPhase::Starting,
            State::Running { .. } => ObservedPhase::Running,
        }
    }

    /// Requests may go to it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.was_ready() && self.wanted == AssignedPhase::Run
    }

    /// It is ready, whatever is wanted of it.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        matches!(self.state, State::Running { ready: Readiness::Ready { .. }, .. })
    }

    /// It has ended, and its policy wants no other attempt.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
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
            State::Terminating { kill_at_ms, .. } => Some(kill_at_ms),
            State::Killing { again_at_ms, .. } => Some(again_at_ms),
            State::Backoff { until_ms, .. } => Some(until_ms),
            _ => None,
        }
    }

    /// A sentence about how its attempts ended, where there is something to say.
    #[must_use]
    pub fn detail(&self) -> String {
        let Some(ending) = &self.last_ending else { return String::new() };
        match &self.state {
            State::Running { .. } => String::new(),
            State::Finished => {
                format!("{}; it is not started again (restart: {})", ending.with_lines(), self.rules.restart.when)
            }
            State::Backoff { wait_ms, .. } if self.failures >= CRASH_LOOP_FAILURES => format!(
                "crash loop: {} failures in a row; next try {} after the last; last: {}",
                self.failures,
                seconds(*wait_ms),
                ending.with_lines()
            ),
            _ if self.failures >= CRASH_LOOP_FAILURES => {
                format!("crash loop: {} failures in a row; last: {}", self.failures, ending.with_lines())
            }
            _ => ending.to_string(),
        }
    }
}

/// As people read it: `100 ms`, `1.6 s`.
fn seconds(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

/// Whether an end of this kind is followed by another attempt.
fn is_restarted(when: When, step: Step, exit: Option<Exit>) -> bool {
    match (when, step) {
        // Nothing has run, so nothing runs twice; and the cause may go.
        (_, Step::Start) | (When::Always, _) => true,
        (When::OnFailure, _) => exit != Some(Exit::Code(0)),
        (When::Never, _) => false,
    }
}
