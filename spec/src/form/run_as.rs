//! `[run_as]` and `[sandbox]`.

use cluster::run_as::{RunAs, Sandbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_absolute, has_control};
use crate::fault::{Faults, at};
use crate::umask::Umask;

/// As whom and where a replica runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunAsForm {
    /// A user of the host, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"www-data")]
    user: Option<String>,
    /// A group of the host, by name or number; the user's own groups unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"www-data")]
    group: Option<String>,
    /// The directory that it starts in, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^/"), example = &"/srv/shop")]
    working_dir: Option<String>,
    /// Permission bits that new files do not get, in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Umask")]
    umask: Option<Umask>,
    /// No program that it runs gains rights by set-user-id bits or file capabilities.
    no_new_privs: bool,
    /// It has a temporary directory of its own (`TMPDIR`), which goes with it.
    private_tmp: bool,
}

impl RunAsForm {
    pub(crate) fn run_as(self, faults: &mut Faults) -> RunAs {
        for (key, name) in [("user", &self.user), ("group", &self.group)] {
            if name.as_ref().is_some_and(|name| name.is_empty() || has_control(name) || name.contains([':', '/', ' '])) {
                faults.add(at!["run_as", key], format!("no {key} has this name; give a name or a number of the host"));
            }
        }
        if let Some(directory) = &self.working_dir {
            check_absolute(directory, at!["run_as", "working_dir"], faults);
        }
        RunAs {
            user: self.user,
            group: self.group,
            working_dir: self.working_dir,
            umask: self.umask.map(|mask| mask.0),
            no_new_privs: self.no_new_privs,
            private_tmp: self.private_tmp,
        }
    }
}

impl From<&RunAs> for RunAsForm {
    fn from(run_as: &RunAs) -> Self {
        RunAsForm {
            user: run_as.user.clone(),
            group: run_as.group.clone(),
            working_dir: run_as.working_dir.clone(),
            umask: run_as.umask.map(Umask),
            no_new_privs: run_as.no_new_privs,
            private_tmp: run_as.private_tmp,
        }
    }
}

/// The files that a replica can use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SandboxForm {
    /// What it may read, with all that is below: absolute paths.
    #[schemars(example = vec!["/srv/shop"])]
    read: Vec<String>,
    /// What it may read and write, with all that is below: absolute paths. Its working directory and its temporary directory are so anyway.
    #[schemars(example = vec!["/var/lib/shop"])]
    write: Vec<String>,
}

impl SandboxForm {
    pub(crate) fn sandbox(self, faults: &mut Faults) -> Sandbox {
        for (key, paths) in [("read", &self.read), ("write", &self.write)] {
            for (at, path) in paths.iter().enumerate() {
                check_absolute(path, at!["sandbox", key, at], faults);
            }
        }
        Sandbox { read: self.read, write: self.write }
    }
}

impl From<&Sandbox> for SandboxForm {
    fn from(sandbox: &Sandbox) -> Self {
        SandboxForm { read: sandbox.read.clone(), write: sandbox.write.clone() }
    }
}
