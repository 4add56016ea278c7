//! In which order processes get to the disks of a host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The last of the levels of a class; 0 comes first.
pub const IO_LEVEL_MAX: u8 = 7;
/// The level of a class without one (ioprio_set(2)).
const IO_LEVEL: u8 = 4;

/// When a process gets to a disk that others wait for as well (ioprio_set(2)). As text: `idle`, `best-effort`, `best-effort:LEVEL`, `realtime`,
/// `realtime:LEVEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IoClass {
    /// When nobody else wants to.
    Idle,
    /// In its turn, the lower levels more often.
    BestEffort(u8),
    /// Before all others.
    Realtime(u8),
}

/// A text that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no class of io: use idle, best-effort, best-effort:LEVEL, realtime or realtime:LEVEL, with a level from 0, the first, to {IO_LEVEL_MAX}"
)]
pub struct BadIoClass(String);

impl FromStr for IoClass {
    type Err = BadIoClass;
    fn from_str(text: &str) -> Result<Self, BadIoClass> {
        let bad = || BadIoClass(text.chars().take(64).collect());
        let (class, level) = match text.split_once(':') {
            Some((class, level)) if level.len() == 1 => (class, level.parse().map_err(|_| bad())?),
            Some(_) => return Err(bad()),
            None => (text, IO_LEVEL),
        };
        match class {
            "idle" if text == "idle" => Ok(IoClass::Idle),
            "best-effort" if level <= IO_LEVEL_MAX => Ok(IoClass::BestEffort(level)),
            "realtime" if level <= IO_LEVEL_MAX => Ok(IoClass::Realtime(level)),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for IoClass {
    type Error = BadIoClass;
    fn try_from(text: String) -> Result<Self, BadIoClass> {
        text.parse()
    }
}

impl From<IoClass> for String {
    fn from(class: IoClass) -> String {
        class.to_string()
    }
}

impl fmt::Display for IoClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoClass::Idle => f.write_str("idle"),
            IoClass::BestEffort(IO_LEVEL) => f.write_str("best-effort"),
            IoClass::BestEffort(level) => write!(f, "best-effort:{level}"),
            IoClass::Realtime(IO_LEVEL) => f.write_str("realtime"),
            IoClass::Realtime(level) => write!(f, "realtime:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_what_it_was_written_as() {
        for text in ["idle", "best-effort", "best-effort:0", "best-effort:7", "realtime", "realtime:3"] {
            assert_eq!(text.parse::<IoClass>().map(|class| class.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("realtime:4".parse(), Ok(IoClass::Realtime(4)));
    }

    #[test]
    fn what_is_no_class_is_refused() {
        for text in
            ["", "idle:1", "idle:4", "best-effort:", "best-effort:8", "best-effort:10", "best-effort:+1", "Realtime", "none", "realtime: 1"]
        {
            assert!(text.parse::<IoClass>().is_err(), "{text}");
        }
    }
}
