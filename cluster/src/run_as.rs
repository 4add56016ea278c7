//! As whom a replica runs, where, and what it may reach of its host's files.

use serde::{Deserialize, Serialize};

/// The ability of an agent to run a replica as the spec says: [`RunAs`].
pub const ABILITY_RUN_AS: &str = "run-as";
/// The ability of an agent to keep a replica to the files that it may use: [`Sandbox`].
pub const ABILITY_SANDBOX: &str = "sandbox";
/// The ability of an agent to open a replica's socket for it: [`SocketMode::Pass`].
pub const ABILITY_SOCKET: &str = "socket";

/// All the permission bits that a umask can take away.
pub const UMASK_MAX: u32 = 0o777;

/// As whom and where the processes of a replica run. What is absent is as it is for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunAs {
    /// A user of the host, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group of the host, by name or number; the user's own groups unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The directory that it starts in, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Permission bits that new files do not get: 0 to 0o777.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// No program that it runs gains rights by set-user-id bits or file capabilities.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// It has a temporary directory of its own (`TMPDIR`), which goes with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private_tmp: bool,
}

/// The files that a replica may use. Programs and libraries of the system can be read and run by all; what else is not named is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// What it may read, with all that is below: absolute paths.
    pub read: Vec<String>,
    /// What it may read and write, with all that is below: absolute paths. Its working directory and its temporary directory are so anyway.
    pub write: Vec<String>,
}

/// Who opens the socket that a replica is called at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketMode {
    /// The program, at `HOST` and `PORT`.
    #[default]
    Bind,
    /// The agent, which hands it over (`LISTEN_FDS`, sd_listen_fds(3)) to each attempt and to the replica after it.
    Pass,
}
