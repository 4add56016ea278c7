//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gateway::listen::Listen;

/// The most bytes of artifacts that are kept, unless said.
pub const CACHE_BYTES_MAX: u64 = 10 << 30;

/// The settings of one agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Listen,
    /// The name that people know it by; the default is `hostname:port`.
    pub name: Option<String>,
    /// What is said of its host, for apps to choose by.
    pub labels: BTreeMap<String, String>,
    /// Where the pipes of its replicas lie; the default is named after its port.
    pub runtime_dir: Option<PathBuf>,
    /// Where the output of its replicas is kept; the default is `logs` in `runtime_dir` if that is given, else it is named after its port.
    pub log_dir: Option<PathBuf>,
    /// Replicas outlive the agent, and the next one on its runtime directory takes them over.
    pub keep_workers: bool,
    /// Where artifacts are kept, for all agents of this user; the default is named after the user.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes that are kept there beyond what is used.
    pub cache_bytes_max: u64,
    /// Listen on an address that is not loopback, in the clear, and let those in who come from outside.
    pub insecure: bool,
    /// Host names, beside IP addresses and `localhost`, that calls may be made by.
    pub allow_host: Vec<String>,
}
