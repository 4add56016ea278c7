//! Counters of one gateway thread, which others may read at any time.
//!
//! Only the thread itself writes, so counting is a load and a store, and no line of the cache is fought over. Absent from here: what the
//! figures look like in the end ([`crate::figures`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper ends of the classes of a histogram, in microseconds; above the last is one more class.
pub const BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
    60_000_000,
];

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes back one that was added.
    pub(crate) fn take(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Times by class.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) classes: [Counter; BOUNDS_US.len() + 1],
    pub(crate) sum_us: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        if let Some(class) = self.classes.get(class) {
            class.add(1);
        }
        self.sum_us.add(us);
    }
}

/// What one thread counts of one app.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct AppMeters {
    /// Requests that ended: without an answer, then by the hundreds of their status.
    pub(crate) ended: [Counter; 6],
    /// Requests under way.
    pub(crate) in_flight: Counter,
    /// Sent again after a replica had got them.
    pub(crate) retries: Counter,
    /// Given to another replica, or to another connection, before a byte was sent.
    pub(crate) replays: Counter,
    /// Would have been sent again, and the budget was used up.
    pub(crate) retries_refused: Counter,
    /// Requests that had to wait for a replica.
    pub(crate) held: Counter,
    /// Requests that wait for one now.
    pub(crate) holding: Counter,
    /// From the head of a request to the first byte of a replica's answer.
    pub(crate) first_byte: Histogram,
    /// From the head of a request to the last byte of its answer.
    pub(crate) whole: Histogram,
}

/// What one thread counts beside its apps.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ThreadMeters {
    /// Client connections that are open.
    pub(crate) connections: Counter,
    /// What came and was no request of an app: malformed, too large, too slow, for nobody.
    pub(crate) refused: Counter,
    /// Lines of the access log that were dropped since the file did not take them.
    pub(crate) log_dropped: Counter,
}
