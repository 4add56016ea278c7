//! The clock that the pure core is handed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::Now;

/// Counts from the start of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock that stands at zero.
    pub fn start() -> Self {
        Clock { zero: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: whole_ms(self.zero.elapsed()), unix_ms: whole_ms(unix) }
    }

    /// When `mono_ms` is reached. Rounded up, so that whoever wakes then finds it reached.
    pub fn instant(&self, mono_ms: u64) -> tokio::time::Instant {
        // A century is as good as never, and no overflow.
        let ms = mono_ms.min(100 * 365 * 24 * 3_600_000);
        tokio::time::Instant::from_std(self.zero + Duration::from_millis(ms))
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
