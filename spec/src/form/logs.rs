//! `[logs]`.

use cluster::logs::{FILE_BYTES_MAX, FILE_BYTES_MIN, FILES_MAX, LogSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::{Faults, at};
use crate::size::Size;

/// How much of what a replica writes is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogsForm {
    /// The size of one file.
    max_size: Size,
    /// How many files.
    #[schemars(range(min = 1, max = FILES_MAX))]
    files: u32,
}

impl LogsForm {
    pub(crate) fn spec(self, faults: &mut Faults) -> LogSpec {
        let (least, most) = (Size { bytes: FILE_BYTES_MIN }, Size { bytes: FILE_BYTES_MAX });
        if !(least..=most).contains(&self.max_size) {
            let what = format!("\"{}\" is out of range; give \"{least}\" to \"{most}\"", self.max_size);
            faults.add(at!["logs", "max_size"], what);
        }
        if !(1..=FILES_MAX).contains(&self.files) {
            faults.add(at!["logs", "files"], format!("{} is out of range; give 1 to {FILES_MAX}", self.files));
        }
        LogSpec { max_bytes: self.max_size.bytes, files: self.files }
    }
}

impl From<&LogSpec> for LogsForm {
    fn from(spec: &LogSpec) -> Self {
        LogsForm { max_size: Size { bytes: spec.max_bytes }, files: spec.files }
    }
}

impl Default for LogsForm {
    fn default() -> Self {
        LogsForm::from(&LogSpec::default())
    }
}
