//! Leaving in order: replicas are replaced elsewhere first, then stopped here.
//!
//! Pure: the owner asks it what to do at a given time.

use cluster::Now;

/// Beyond drain and grace, for replacements to become ready, in milliseconds.
const SLACK_MS: u64 = 5_000;

/// An agent that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// What is left by then is stopped, replaced or not, in monotonic milliseconds.
    pub stop_at_ms: u64,
}

impl Goodbye {
    /// Begins one. `longest_ms` is the longest drain and grace of what runs here.
    pub fn begin(longest_ms: u64, now: Now) -> Self {
        Goodbye { stop_at_ms: now.plus_ms(longest_ms.saturating_add(SLACK_MS)).mono_ms }
    }

    /// For how long the controller is waited for at most, from now, in milliseconds.
    pub fn within_ms(&self, now: Now) -> u64 {
        self.stop_at_ms.saturating_sub(now.mono_ms)
    }

    /// Whether it is time to stop everything. Nobody can replace anything when nobody `is_heard` to control this agent.
    pub fn is_over(&self, is_heard: bool, now: Now) -> bool {
        !is_heard || now.mono_ms >= self.stop_at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    #[test]
    fn it_waits_for_drain_grace_and_five_seconds_while_it_is_heard() {
        let goodbye = Goodbye::begin(20_000, at(1_000));
        assert_eq!(goodbye.within_ms(at(2_000)), 24_000);
        assert!(!goodbye.is_over(true, at(25_999)));
        assert!(goodbye.is_over(true, at(26_000)));
    }

    #[test]
    fn it_does_not_wait_when_nobody_hears_it() {
        assert!(Goodbye::begin(20_000, at(1_000)).is_over(false, at(1_000)));
    }

    #[test]
    fn a_spec_of_any_length_is_no_overflow() {
        assert_eq!(Goodbye::begin(u64::MAX, at(5)).stop_at_ms, u64::MAX);
    }
}
