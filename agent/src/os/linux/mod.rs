//! Linux.

mod cgroup;
mod clone_into;
mod exec_checks;
mod guardian;
mod jail;
mod last_lines;
mod leftovers;
mod log;
mod log_files;
mod notify;
mod output;
mod own_limits;
mod peer;
mod process;
mod signals;
mod spawn;
mod start;
mod strays;
mod system;

pub(crate) use cgroup::{Trees, make_trees};
pub use guardian::guardian_main;
pub(crate) use jail::{Jail, open_to_readers, remove_sealed};
pub(crate) use leftovers::end_leftovers;
pub(crate) use notify::NotifySocket;
pub(crate) use peer::peer_may_command;
pub(crate) use process::{end_children, reap};
pub(crate) use signals::Signals;
pub(crate) use spawn::{GuardianProcess, GuardianSocket, start_guardian};
pub(crate) use system::{
    cache_base, hostname, is_executable, is_same_file, lock_directory, log_base, memory_bytes, prepare, private_directory, runtime_base,
};
