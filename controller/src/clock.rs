//! The time, for the pure core.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cluster::Now;

/// A clock that begins when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        Clock { began: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms: ms(self.began.elapsed()), unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms) }
    }
}
