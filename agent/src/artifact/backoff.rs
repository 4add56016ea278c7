//! When a download is tried again, and when it is given up. Pure: chance comes in as a number.

/// The longest wait before the first request, in milliseconds: so many hosts that learn of an artifact at once do not ask for it at once.
const FIRST_MS_MAX: u64 = 500;
/// The wait after the first failure, in milliseconds; it doubles.
const STEP_MS: u64 = 500;
/// The longest wait, in milliseconds.
const WAIT_MS_MAX: u64 = 15_000;
/// So many failures in a row, with hardly a byte between them, end a download.
const FAILURES_MAX: u32 = 5;
/// So many in all.
const TRIES_MAX: u32 = 50;
/// So many bytes between two failures are progress.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How a download goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    tries: u32,
    bytes: u64,
}

impl Backoff {
    /// The wait before the first request, in milliseconds.
    pub fn first_ms(chance: u64) -> u64 {
        chance % (FIRST_MS_MAX + 1)
    }

    /// A try failed when so many bytes were there: how long to wait before the next, in milliseconds, or `None` for never.
    pub fn failed(&mut self, bytes: u64, chance: u64) -> Option<u64> {
        if bytes >= self.bytes.saturating_add(PROGRESS_BYTES) {
            self.failures = 0;
        }
        self.bytes = bytes;
        self.failures += 1;
        self.tries += 1;
        if self.failures >= FAILURES_MAX || self.tries >= TRIES_MAX {
            return None;
        }
        let full = (STEP_MS << (self.failures - 1)).min(WAIT_MS_MAX);
        Some(full / 2 + chance % (full / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_after_five_failures_in_a_row() {
        let mut backoff = Backoff::default();
        let least: Vec<Option<u64>> = (0..5).map(|_| backoff.failed(0, 0)).collect();
        assert_eq!(least, [Some(250), Some(500), Some(1_000), Some(2_000), None]);
        let mut backoff = Backoff::default();
        for full in [500, 1_000, 2_000, 4_000] {
            let wait = backoff.failed(0, u64::MAX).unwrap_or_default();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
    }

    #[test]
    fn one_that_gets_on_goes_on_and_not_for_ever() {
        let mut backoff = Backoff::default();
        let tries = (1..).take_while(|at| backoff.failed(at * PROGRESS_BYTES, 0) == Some(250)).count();
        assert_eq!(tries, 49);
    }

    #[test]
    fn fifty_hosts_are_spread_over_half_a_second() {
        assert_eq!((0..=u64::from(u16::MAX)).map(Backoff::first_ms).max(), Some(500));
    }
}
