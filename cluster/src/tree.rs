//! How an agent tells which processes belong to a replica.

use serde::{Deserialize, Serialize};

/// What holds the processes of one attempt together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tree {
    /// A cgroup of its own: no process leaves it unless it has the right to, and all of them end at once.
    Cgroup,
    /// Descent, session and environment, as far as they show: no cgroup can be written there.
    Session,
}
