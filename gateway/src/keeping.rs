//! What is known of how long a replica keeps an idle connection.
//!
//! A replica may end one at any moment, and a request that is on its way then is met by that end (RFC 9112 section 9.6). What may be sent
//! twice is sent again; what may not must never be met. So it waits for proof that the replica keeps its connections, and a connection
//! that was ended while idle makes those that are as old suspect.
//!
//! Absent from here: connections, and the clock.

use std::time::{Duration, Instant};

/// What must not be sent twice goes out on a connection that was in use so recently, or on a new one: the replica may be about to end
/// one that was idle for longer.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// A replica that kept a connection for so long keeps every one for [`TRUSTED_IDLE`].
const PROVEN_IDLE: Duration = Duration::from_millis(1_500);
/// An end is remembered for so long at least: it may have been an accident.
const REMEMBERED: Duration = Duration::from_secs(1);

/// One replica's habits, as far as they were seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    configured: Duration,
    /// It has kept one for [`PROVEN_IDLE`].
    has_kept: bool,
    /// It has ended one that was idle for less than [`TRUSTED_IDLE`].
    has_ended_early: bool,
    ended: Option<Ended>,
}

/// The replica ended a connection that was idle.
#[derive(Clone, Copy, Debug)]
struct Ended {
    seen_at: Instant,
    age: Duration,
}

impl Keeping {
    pub(crate) fn new() -> Self {
        Keeping { configured: Duration::ZERO, has_kept: false, has_ended_early: false, ended: None }
    }

    /// An idle connection is never kept for longer than this.
    pub(crate) fn configure(&mut self, limit: Duration) {
        self.configured = limit;
    }

    /// The age beyond which an idle connection is not kept.
    pub(crate) fn configured(&self) -> Duration {
        self.configured
    }

    /// The age up to which an idle connection may carry a request that may be sent twice: well below that at which one was ended.
    pub(crate) fn limit(&self, now: Instant) -> Duration {
        match self.ended {
            Some(ended) if now.saturating_duration_since(ended.seen_at) <= REMEMBERED + ended.age * 4 => self.configured.min(ended.age / 2),
            _ => self.configured,
        }
    }

    /// The age up to which it may carry one that must not be sent twice; `None`: no connection of any age.
    pub(crate) fn trusted(&self, now: Instant) -> Option<Duration> {
        (self.has_kept && !self.has_ended_early).then(|| self.limit(now).min(TRUSTED_IDLE))
    }

    /// A connection that is idle for `age` was found ended.
    pub(crate) fn saw_end(&mut self, age: Duration, now: Instant) {
        self.has_ended_early |= age < TRUSTED_IDLE;
        self.ended = Some(Ended { seen_at: now, age });
    }

    /// A connection that is idle for `age` was found open.
    pub(crate) fn saw_open(&mut self, age: Duration) {
        self.has_kept |= age >= PROVEN_IDLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn keeping() -> Keeping {
        let mut keeping = Keeping::new();
        keeping.configure(ms(4_000));
        keeping
    }

    #[test]
    fn nothing_is_trusted_before_it_was_proven() {
        let now = Instant::now();
        let mut keeping = keeping();
        assert_eq!((keeping.limit(now), keeping.trusted(now)), (ms(4_000), None));
        keeping.saw_open(ms(1_499));
        assert_eq!(keeping.trusted(now), None);
        keeping.saw_open(ms(1_500));
        assert_eq!(keeping.trusted(now), Some(ms(1_000)));
    }

    #[test]
    fn a_replica_that_ended_one_early_is_never_trusted_again() {
        let now = Instant::now();
        let mut keeping = keeping();
        keeping.saw_open(ms(2_000));
        keeping.saw_end(ms(10), now);
        assert_eq!((keeping.limit(now), keeping.trusted(now)), (ms(5), None));
        // What may be sent twice tries again after a while.
        let later = now + ms(1_041);
        assert_eq!((keeping.limit(later), keeping.trusted(later)), (ms(4_000), None));
    }

    #[test]
    fn a_late_end_shortens_the_limit_and_leaves_trust() {
        let now = Instant::now();
        let mut keeping = keeping();
        keeping.saw_open(ms(1_900));
        keeping.saw_end(ms(2_100), now);
        assert_eq!((keeping.limit(now), keeping.trusted(now)), (ms(1_050), Some(ms(1_000))));
        assert_eq!(keeping.limit(now + ms(9_400)), ms(1_050));
        assert_eq!(keeping.limit(now + ms(9_401)), ms(4_000));
        keeping.configure(ms(500));
        assert_eq!(keeping.trusted(now), Some(ms(500)));
    }
}
