//! Time as one gateway thread counts it: in ticks of its own sweeper.
//!
//! A deadline per request costs no timer, only a number that the sweep compares. And since a tick is counted by the thread itself,
//! a thread that stood still (a stopped process, a busy host) has not counted, so it times nobody out for its own absence.

use std::cell::Cell;

use crate::config::Limits;

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// The tick counter of one thread.
#[derive(Debug)]
pub(crate) struct Clock {
    tick: Cell<u64>,
    tick_ms: u64,
}

impl Clock {
    /// A clock whose ticks are fine enough for the shortest of `limits`.
    pub(crate) fn new(limits: &Limits) -> Self {
        let shortest =
            [limits.first_byte_ms, limits.head_ms, limits.body_idle_ms, limits.client_idle_ms].into_iter().min().unwrap_or(1_000);
        Clock { tick: Cell::new(0), tick_ms: (shortest / 4).clamp(10, 250) }
    }

    /// How long a tick is, in milliseconds.
    pub(crate) fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// How many ticks have been counted.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.get()
    }

    /// Counts one tick.
    pub(crate) fn advance(&self) {
        self.tick.set(self.tick.get() + 1);
    }

    /// The deadline that is at least `ms` milliseconds away.
    pub(crate) fn after_ms(&self, ms: u64) -> u64 {
        (self.tick.get() + 1).saturating_add(ms.div_ceil(self.tick_ms))
    }

    /// Whether a deadline has come.
    pub(crate) fn has_come(&self, deadline: u64) -> bool {
        self.tick.get() >= deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_never_comes_early() {
        let clock = Clock::new(&Limits { head_ms: 400, ..Limits::default() });
        assert_eq!(clock.tick_ms(), 100);
        let deadline = clock.after_ms(400);
        for _ in 0..4 {
            clock.advance();
            assert!(!clock.has_come(deadline));
        }
        clock.advance();
        assert!(clock.has_come(deadline));
        assert!(!clock.has_come(NEVER));
    }
}
