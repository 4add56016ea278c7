//! What an agent counts of its artifacts.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub struct Meters {
    made: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    cache_bytes: AtomicU64,
}

/// Their figures of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Artifacts that this agent downloaded or copied, and unpacked.
    pub made_total: u64,
    /// Those that it could not.
    pub failed_total: u64,
    /// Bytes that it downloaded.
    pub bytes_total: u64,
    /// Bytes of the cache when somebody looked last.
    pub cache_bytes: u64,
}

impl Meters {
    /// One was made.
    pub fn made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// One could not be made ready.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Some bytes came.
    pub fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The cache holds so many.
    pub fn cached(&self, bytes: u64) {
        self.cache_bytes.store(bytes, Ordering::Relaxed);
    }

    /// All figures.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            made_total: of(&self.made),
            failed_total: of(&self.failed),
            bytes_total: of(&self.bytes),
            cache_bytes: of(&self.cache_bytes),
        }
    }
}
