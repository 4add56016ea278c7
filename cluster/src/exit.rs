//! How a process ended, and how that is told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It reached its memory limit: the kernel killed it, or another process of its replica, after which it ended with this code.
    OutOfMemory(Option<i32>),
    /// Its guardian died, or it was adopted from another: nobody could see how it ended.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "its process exited with code {code}"),
            Exit::Signal(9) => f.write_str("its process was killed (SIGKILL)"),
            Exit::Signal(6) => f.write_str("its process aborted (SIGABRT)"),
            Exit::Signal(11) => f.write_str("its process crashed (SIGSEGV)"),
            Exit::Signal(15) => f.write_str("its process was terminated (SIGTERM)"),
            Exit::Signal(signal) => write!(f, "its process was ended by signal {signal}"),
            Exit::OutOfMemory(None) => f.write_str("its process was killed: the replica reached its memory limit (limits.memory_bytes)"),
            Exit::OutOfMemory(Some(code)) => write!(
                f,
                "its process exited with code {code}, after a process of the replica was killed at its memory limit (limits.memory_bytes)"
            ),
            Exit::Unknown => f.write_str("its process ended, and nobody could see how: its guardian had died"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_at_the_memory_limit_is_told_apart_from_any_other() {
        let limit = "memory limit (limits.memory_bytes)";
        assert!(Exit::OutOfMemory(None).to_string().contains(limit));
        let told = Exit::OutOfMemory(Some(3)).to_string();
        assert!(told.contains(limit) && told.contains("code 3"), "{told}");
        assert_eq!(Exit::Signal(9).to_string(), "its process was killed (SIGKILL)");
    }
}
