//! When a process that ended is started again, and after which wait.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When a process that ended is started again: at once, then after `first_ms`, doubling to `max_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// After which ends it is started again at all.
    #[serde(skip_serializing_if = "When::is_always")]
    pub when: When,
    /// The wait before the second restart in a row (the first is at once), in milliseconds.
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// A replica that was ready for so long starts again from no wait at all, in milliseconds.
    pub reset_after_ms: u64,
}

/// After which ends a process is started again. One that could not even be started is tried again in any case: nothing has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// After any.
    #[default]
    Always,
    /// Unless it exited with code 0.
    OnFailure,
    /// After none: it runs once.
    Never,
}

impl When {
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_always(&self) -> bool {
        *self == When::Always
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Always => "always",
            When::OnFailure => "on-failure",
            When::Never => "never",
        })
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { when: When::Always, first_ms: 100, max_ms: 30_000, reset_after_ms: 10_000 }
    }
}

impl RestartPolicy {
    /// The wait before the next start after `failures` failures in a row, in milliseconds.
    #[must_use]
    pub fn wait_ms(&self, failures: u32) -> u64 {
        match failures {
            0 | 1 => 0,
            n => {
                let doublings = (n - 2).min(32);
                self.first_ms.saturating_mul(1 << doublings).min(self.max_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_at_once_then_100_ms_doubling_to_30_s() {
        let policy = RestartPolicy::default();
        let waits: Vec<u64> = (1..=12).map(|n| policy.wait_ms(n)).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(policy.wait_ms(u32::MAX), 30_000);
    }
}
