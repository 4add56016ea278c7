//! Time as one gateway thread counts it: in ticks of its own sweeper.
//!
//! A deadline per request costs no timer, only a number that the sweep compares. And since a tick is counted by the thread itself,
//! a thread that stood still (a stopped process, a busy host) has not counted, so it times nobody out for its own absence.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Limits;

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// A `Date` field's value (RFC 9110 section 5.6.7): always of this length.
pub(crate) type Date = [u8; 29];
/// No date of that form is later: the first second of the year 10000.
const SECONDS_END: u64 = 253_402_300_800;

/// The tick counter of one thread.
#[derive(Debug)]
pub(crate) struct Clock {
    tick: Cell<u64>,
    tick_ms: u64,
    /// The time of day as of the last tick.
    seconds: Cell<u64>,
    date: Cell<Date>,
}

impl Clock {
    /// A clock whose ticks are fine enough for the shortest of `limits`.
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { first_byte_ms, head_ms, body_idle_ms, client_idle_ms, half_closed_ms, tunnel_idle_ms, .. } = *limits;
        let shortest =
            [first_byte_ms, head_ms, body_idle_ms, client_idle_ms, half_closed_ms, tunnel_idle_ms].into_iter().min().unwrap_or(1_000);
        let tick_ms = (shortest / 4).clamp(10, 250);
        let clock = Clock { tick: Cell::new(0), tick_ms, seconds: Cell::new(u64::MAX), date: Cell::new(*b"Thu, 01 Jan 1970 00:00:00 GMT") };
        clock.look_at_the_time_of_day();
        clock
    }

    /// How long a tick is, in milliseconds.
    pub(crate) fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// Counts one tick.
    pub(crate) fn advance(&self) {
        self.tick.set(self.tick.get() + 1);
        self.look_at_the_time_of_day();
    }

    fn look_at_the_time_of_day(&self) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if seconds != self.seconds.get() && seconds < SECONDS_END {
            self.seconds.set(seconds);
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            if let Ok(date) = text.as_bytes().try_into() {
                self.date.set(date);
            }
        }
    }

    /// The date and the time of day; no request asks the system for it.
    pub(crate) fn date(&self) -> Date {
        self.date.get()
    }

    /// The deadline that is at least `ms` milliseconds away.
    pub(crate) fn after_ms(&self, ms: u64) -> u64 {
        self.behind(self.tick.get(), ms)
    }

    /// How many ticks there were.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.get()
    }

    /// The deadline that is at least `ms` milliseconds behind a tick.
    pub(crate) fn behind(&self, tick: u64, ms: u64) -> u64 {
        (tick + 1).saturating_add(ms.div_ceil(self.tick_ms))
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

    #[test]
    fn a_date_is_that_of_the_last_tick() {
        let clock = Clock::new(&Limits::default());
        let date = String::from_utf8_lossy(&clock.date()).into_owned();
        assert!(date.ends_with(" GMT") && !date.contains("1970"), "{date}");
        clock.seconds.set(0);
        clock.date.set([b'x'; 29]);
        assert_eq!(clock.date(), [b'x'; 29]);
        clock.advance();
        assert!(clock.date().ends_with(b" GMT"));
    }
}
