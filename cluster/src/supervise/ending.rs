//! How an attempt ended: which step of it failed, how, and what it said last.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which step an attempt did not get past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Its process could not be started.
    Start,
    /// Its process ended.
    Run,
    /// It failed a check that decides whether it lives.
    Liveness,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// In which step.
    pub step: Step,
    /// How, as a sentence.
    pub error: String,
    /// The last lines that its process wrote, the oldest first.
    pub last_lines: Vec<String>,
}

impl Ending {
    /// The sentence with all the lines that are kept.
    #[must_use]
    pub fn with_lines(&self) -> String {
        match self.last_lines.as_slice() {
            [] => self.error.clone(),
            lines => format!("{}; last lines: {}", self.error, lines.join(" | ")),
        }
    }
}

/// The sentence with the last line.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match self.last_lines.last() {
            Some(line) => write!(f, "; its last line: {line}"),
            None => Ok(()),
        }
    }
}
