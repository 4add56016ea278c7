//! The time, as an argument.

/// One instant, read by a shell and handed to the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; its zero means nothing.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01 UTC. For people only: no decision reads it.
    pub unix_ms: u64,
}

impl Now {
    /// The instant `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Now { mono_ms: self.mono_ms.saturating_add(ms), unix_ms: self.unix_ms.saturating_add(ms) }
    }

    /// Milliseconds since `then_mono_ms`; 0 if that lies ahead.
    #[must_use]
    pub fn since_ms(self, then_mono_ms: u64) -> u64 {
        self.mono_ms.saturating_sub(then_mono_ms)
    }
}
