//! `[limits]`.

use cluster::io_class::IoClass;
use cluster::limits::{Cores, Limits, MEMORY_BYTES_MIN, NICE_MAX, NICE_MIN, OPEN_FILES_MAX, OPEN_FILES_MIN, PIDS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::{Faults, at};
use crate::size::Size;

/// What each replica may use of its host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsForm {
    /// Memory, at least 1MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    memory: Option<Size>,
    /// Processors, at least 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 0.01), example = 0.5)]
    cpu: Option<Cores>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1, max = PIDS_MAX))]
    pids: Option<u64>,
    /// Open files of each process; 1024 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = OPEN_FILES_MIN, max = OPEN_FILES_MAX))]
    open_files: Option<u64>,
    /// The largest core file of each process; "0" is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    core: Option<Size>,
    /// How willingly each process lets others go first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = NICE_MIN, max = NICE_MAX))]
    nice: Option<i32>,
    /// When each process gets to a disk that others wait for as well: `idle` (when nobody else wants to), `best-effort` or `realtime`, these two also with
    /// a level from 0, the first, to 7, as in `best-effort:7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^(idle|(best-effort|realtime)(:[0-7])?)$"), example = &"idle")]
    io: Option<IoClass>,
    /// A replica of which one of these cannot be enforced is not started.
    pub(crate) strict: bool,
}

impl LimitsForm {
    pub(crate) fn limits(self, faults: &mut Faults) -> Limits {
        if let Some(size) = self.memory.filter(|size| size.bytes < MEMORY_BYTES_MIN) {
            let least = Size { bytes: MEMORY_BYTES_MIN };
            faults.add(at!["limits", "memory"], format!("\"{size}\" is too little for any program; give \"{least}\" or more"));
        }
        let limits = Limits {
            memory_bytes: None,
            cpu: self.cpu,
            pids: self.pids,
            open_files: self.open_files,
            core_bytes: None,
            nice: self.nice,
            io: self.io,
        };
        if let Err(nonsense) = limits.check() {
            let what = format!("{} is out of range; give {}", nonsense.value, nonsense.expected);
            faults.add(at!["limits", nonsense.name], what);
        }
        Limits { memory_bytes: self.memory.map(|size| size.bytes), core_bytes: self.core.map(|size| size.bytes), ..limits }
    }
}

impl From<(&Limits, bool)> for LimitsForm {
    fn from((limits, strict): (&Limits, bool)) -> Self {
        let size = |bytes: Option<u64>| bytes.map(|bytes| Size { bytes });
        LimitsForm {
            memory: size(limits.memory_bytes),
            cpu: limits.cpu,
            pids: limits.pids,
            open_files: limits.open_files,
            core: size(limits.core_bytes),
            nice: limits.nice,
            io: limits.io,
            strict,
        }
    }
}
