//! One step of a replica's life: what follows what.

use super::{Effect, Ending, Event, Exit, Readiness, Replica, State, Step, Then, is_restarted};
use crate::now::Now;
use crate::wire::AssignedPhase;

/// SIGKILL is sent again after so long if something is still left.
const KILL_AGAIN_MS: u64 = 1_000;

/// One step of a replica's life.
#[must_use]
pub fn step(mut replica: Replica, event: Event, now: Now) -> (Replica, Vec<Effect>) {
    let attempt = replica.attempt;
    match (replica.state.clone(), event) {
        (_, Event::Wanted(wanted)) if wanted > replica.wanted => {
            replica.wanted = wanted;
            replica.let_go(now)
        }

        (State::Spawning, Event::Spawned { attempt: of, pid }) if of == attempt => {
            if replica.wanted == AssignedPhase::Stop {
                return replica.terminating(Then::Stop, now);
            }
            replica.state = State::Starting { pid };
            (replica, vec![Effect::Watch { attempt }])
        }
        (State::Spawning, Event::SpawnFailed { attempt: of, error }) if of == attempt => {
            let then = replica.ended(Ending { step: Step::Start, error, last_lines: vec![] }, None, now);
            // Nothing was started, so no port was in the way either.
            replica.reserve_port = true;
            replica.gone(then, now)
        }
        (State::Spawning, Event::GivenUp { attempt: of }) if of == attempt && replica.wanted != AssignedPhase::Run => {
            replica.gone(Then::Stop, now)
        }

        (State::Starting { pid } | State::Running { pid, ready: Readiness::Unready }, Event::Ready { attempt: of }) if of == attempt => {
            replica.state = State::Running { pid, ready: Readiness::Ready { since_ms: now.mono_ms } };
            (replica, vec![])
        }
        (State::Running { pid, ready: Readiness::Ready { .. } }, Event::Unready { attempt: of }) if of == attempt => {
            replica.forgive(now);
            replica.state = State::Running { pid, ready: Readiness::Unready };
            (replica, vec![])
        }
        (State::Starting { .. } | State::Running { .. }, Event::Unhealthy { attempt: of, why }) if of == attempt => {
            let then = replica.ended(Ending { step: Step::Liveness, error: why, last_lines: vec![] }, None, now);
            replica.terminating(then, now)
        }

        (State::Spawning | State::Starting { .. } | State::Running { .. }, Event::Exited { attempt: of, exit, last_lines })
            if of == attempt =>
        {
            let then = replica.ended(Ending { step: Step::Run, error: exit.to_string(), last_lines }, Some(exit), now);
            replica.killing(then, now)
        }
        // It was ended to be started again: what it leaves behind is not waited for.
        (State::Terminating { then, .. }, Event::Exited { attempt: of, last_lines, .. }) if of == attempt && then != Then::Stop => {
            if let Some(ending) = &mut replica.last_ending {
                ending.last_lines = last_lines;
            }
            replica.killing(then, now)
        }

        (State::Killing { then, .. } | State::Terminating { then, .. }, Event::TreeGone { attempt: of }) if of == attempt => {
            replica.gone(then, now)
        }
        // A tree that is gone without a word about its first process: the guardian died.
        (State::Spawning | State::Starting { .. } | State::Running { .. }, Event::TreeGone { attempt: of }) if of == attempt => {
            let exit = Exit::Unknown;
            let then = replica.ended(Ending { step: Step::Run, error: exit.to_string(), last_lines: vec![] }, Some(exit), now);
            replica.gone(then, now)
        }

        (State::Terminating { then, kill_at_ms }, Event::Tick) if now.mono_ms >= kill_at_ms => replica.killing(then, now),
        (State::Killing { then, again_at_ms }, Event::Tick) if now.mono_ms >= again_at_ms => replica.killing(then, now),
        (State::Backoff { until_ms, .. }, Event::Tick) if now.mono_ms >= until_ms => replica.next_attempt(),

        // What is left is about an attempt that is over, or nothing new.
        _ => (replica, vec![]),
    }
}

impl Replica {
    /// What is wanted of it is less than before.
    fn let_go(mut self, now: Now) -> (Self, Vec<Effect>) {
        match self.state {
            State::Backoff { .. } | State::Finished => self.state = State::Stopped,
            State::Killing { again_at_ms, .. } => self.state = State::Killing { then: Then::Stop, again_at_ms },
            State::Terminating { kill_at_ms, .. } => self.state = State::Terminating { then: Then::Stop, kill_at_ms },
            State::Starting { .. } | State::Running { .. } if self.wanted == AssignedPhase::Stop => {
                return self.terminating(Then::Stop, now);
            }
            // Spawning: what the guardian answers decides.
            _ => {}
        }
        (self, vec![])
    }

    fn terminating(mut self, then: Then, now: Now) -> (Self, Vec<Effect>) {
        self.state = State::Terminating { then, kill_at_ms: now.plus_ms(self.rules.grace_ms).mono_ms };
        let attempt = self.attempt;
        (self, vec![Effect::Terminate { attempt }])
    }

    fn killing(mut self, then: Then, now: Now) -> (Self, Vec<Effect>) {
        self.state = State::Killing { then, again_at_ms: now.plus_ms(KILL_AGAIN_MS).mono_ms };
        let attempt = self.attempt;
        (self, vec![Effect::Kill { attempt }])
    }

    /// Failures are forgotten when it was ready for long enough.
    fn forgive(&mut self, now: Now) {
        if let State::Running { ready: Readiness::Ready { since_ms }, .. } = self.state
            && now.since_ms(since_ms) >= self.rules.restart.reset_after_ms
        {
            self.failures = 0;
        }
    }

    /// Notes how the present attempt ended and tells what follows it.
    fn ended(&mut self, ending: Ending, exit: Option<Exit>, now: Now) -> Then {
        self.forgive(now);
        let was_ready = matches!(self.state, State::Running { .. });
        self.reserve_port = was_ready || !self.reserve_port;
        let is_restarted = is_restarted(self.rules.restart.when, ending.step, exit);
        let is_success = !is_restarted && exit == Some(Exit::Code(0));
        if !is_success {
            self.failures = self.failures.saturating_add(1);
        }
        self.last_ending = Some(ending);
        match self.wanted {
            AssignedPhase::Run if is_restarted => Then::Restart { wait_ms: self.rules.restart.wait_ms(self.failures) },
            AssignedPhase::Run => Then::Finish,
            AssignedPhase::Drain | AssignedPhase::Stop => Then::Stop,
        }
    }

    /// The last process is gone.
    fn gone(mut self, then: Then, now: Now) -> (Self, Vec<Effect>) {
        match then {
            Then::Restart { wait_ms: 0 } => return self.next_attempt(),
            Then::Restart { wait_ms } => self.state = State::Backoff { until_ms: now.plus_ms(wait_ms).mono_ms, wait_ms },
            Then::Finish => self.state = State::Finished,
            Then::Stop => self.state = State::Stopped,
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
