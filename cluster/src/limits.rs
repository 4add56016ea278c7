//! What a replica may use of its host, and what came of it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::io_class::IoClass;

use crate::run_as::SANDBOX;

/// The least memory that a program starts in.
pub const MEMORY_BYTES_MIN: u64 = 1024 * 1024;
/// A hundredth of a core: the kernel's least quota is 1 ms in 100 ms.
pub const MILLICORES_MIN: i64 = 10;
/// More cores than any host has.
pub const MILLICORES_MAX: i64 = 100_000_000;
/// The kernel's own bound (`PID_MAX_LIMIT`).
pub const PIDS_MAX: u64 = 4_194_304;
/// Standard streams, and what a loader opens.
pub const OPEN_FILES_MIN: u64 = 16;
/// The most that a kernel can be told to allow (`fs.nr_open`).
pub const OPEN_FILES_MAX: u64 = 1 << 30;

/// The nicest to itself (setpriority(2)).
pub const NICE_MIN: i32 = -20;
/// The nicest to others.
pub const NICE_MAX: i32 = 19;

/// What one replica may use, all its processes together unless said otherwise. What is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processors, such as 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cores>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Open files of each process; 1,024 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// The largest core file of each process, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_bytes: Option<u64>,
    /// How willingly each process lets others go first: -20 to 19.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// When each process gets to a disk that others wait for as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<IoClass>,
}

/// A number of processors, in thousandths; a decimal number in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Cores {
    /// Thousandths of a processor.
    pub milli: i64,
}

impl From<f64> for Cores {
    #[allow(clippy::cast_possible_truncation)]
    fn from(cores: f64) -> Self {
        Cores { milli: (cores * 1000.0).round() as i64 }
    }
}

impl From<Cores> for f64 {
    #[allow(clippy::cast_precision_loss)]
    fn from(cores: Cores) -> f64 {
        cores.milli as f64 / 1000.0
    }
}

/// A limit that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{name} is {value}; give {expected}, or leave it out")]
pub struct Nonsense {
    /// Which, by its field in [`Limits`].
    pub name: &'static str,
    /// What was asked for.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

impl Limits {
    /// Whether each of them can be meant.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), Nonsense> {
        let within = |name, value: Option<i128>, least: i128, most: i128| match value {
            Some(value) if value < least || value > most => {
                let expected = if most == i128::from(u64::MAX) { format!("at least {least}") } else { format!("{least} to {most}") };
                Err(Nonsense { name, value: value.to_string(), expected })
            }
            _ => Ok(()),
        };
        within("memory_bytes", self.memory_bytes.map(i128::from), MEMORY_BYTES_MIN.into(), u64::MAX.into())?;
        within("pids", self.pids.map(i128::from), 1, PIDS_MAX.into())?;
        within("open_files", self.open_files.map(i128::from), OPEN_FILES_MIN.into(), OPEN_FILES_MAX.into())?;
        within("nice", self.nice.map(i128::from), NICE_MIN.into(), NICE_MAX.into())?;
        match self.cpu {
            Some(cpu) if !(MILLICORES_MIN..=MILLICORES_MAX).contains(&cpu.milli) => {
                Err(Nonsense { name: "cpu", value: f64::from(cpu).to_string(), expected: "a number of processors from 0.01".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Some of them hold for all processes of a replica together: only a cgroup can do that.
    #[must_use]
    pub fn need_cgroup(&self) -> bool {
        self.memory_bytes.is_some() || self.cpu.is_some() || self.pids.is_some()
    }
}

/// What came of each limit that was asked for, by its name, and of the [`SANDBOX`]: [`ENFORCED`], which may be followed by how in
/// parentheses, or `not enforced: ` and why.
pub type Enforcement = BTreeMap<String, String>;

/// A limit that holds.
pub const ENFORCED: &str = "enforced";

/// Whether this is said of a limit that holds.
#[must_use]
pub fn holds(said: &str) -> bool {
    said.strip_prefix(ENFORCED).is_some_and(|how| how.is_empty() || how.starts_with(" ("))
}

/// The first limit that does not hold, as a sentence.
#[must_use]
pub fn missing(enforcement: &Enforcement) -> Option<String> {
    let (name, said) = enforcement.iter().find(|(_, said)| !holds(said))?;
    Some(if name == SANDBOX { format!("the sandbox is {said}") } else { format!("limits.{name} is {said}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Limits {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn a_limit_is_what_it_was_written_as() {
        let limits =
            parsed(r#"{"memory_bytes":67108864,"cpu":0.5,"pids":20,"open_files":4096,"core_bytes":0,"nice":-3,"io":"idle","tomorrow":1}"#);
        assert_eq!(limits.cpu, Some(Cores { milli: 500 }));
        assert_eq!(limits.check(), Ok(()));
        let written = serde_json::to_value(&limits).expect("it is plain data");
        assert_eq!(written["cpu"], 0.5);
        assert_eq!(parsed(&written.to_string()), limits);
        assert_eq!(serde_json::to_string(&Limits::default()).expect("it is plain data"), "{}");
        assert!(limits.need_cgroup() && !parsed(r#"{"nice":1,"open_files":99}"#).need_cgroup());
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for (text, name) in [
            (r#"{"memory_bytes":0}"#, "memory_bytes"),
            (r#"{"memory_bytes":4096}"#, "memory_bytes"),
            (r#"{"cpu":0}"#, "cpu"),
            (r#"{"cpu":-1.5}"#, "cpu"),
            (r#"{"cpu":0.001}"#, "cpu"),
            (r#"{"cpu":1e300}"#, "cpu"),
            (r#"{"pids":0}"#, "pids"),
            (r#"{"pids":4194305}"#, "pids"),
            (r#"{"open_files":3}"#, "open_files"),
            (r#"{"open_files":18446744073709551615}"#, "open_files"),
            (r#"{"nice":20}"#, "nice"),
            (r#"{"nice":-21}"#, "nice"),
        ] {
            let error = parsed(text).check().expect_err(text).to_string();
            assert!(error.starts_with(&format!("limits.{name} is ")) && error.contains("; give "), "{error}");
        }
        assert_eq!(
            parsed(r#"{"nice":20}"#).check().expect_err("too nice").to_string(),
            "limits.nice is 20; give -20 to 19, or leave it out"
        );
    }

    #[test]
    fn a_limit_that_does_not_hold_is_told() {
        let mut enforcement = Enforcement::from([("pids".to_owned(), ENFORCED.to_owned())]);
        assert_eq!(missing(&enforcement), None);
        enforcement.insert(SANDBOX.to_owned(), "enforced (Landlock ABI 7)".to_owned());
        assert_eq!(missing(&enforcement), None);
        enforcement.insert(SANDBOX.to_owned(), "not enforced: no".to_owned());
        assert_eq!(missing(&enforcement).as_deref(), Some("the sandbox is not enforced: no"));
        enforcement.insert("memory_bytes".to_owned(), "not enforced: because".to_owned());
        assert_eq!(missing(&enforcement).as_deref(), Some("limits.memory_bytes is not enforced: because"));
    }
}
