//! Linux.

mod adopt;
mod agent_line;
mod birth;
mod cgroup;
mod clone_into;
mod entry;
mod exec_checks;
mod guardian;
mod handover;
mod image;
mod jail;
mod landlock;
mod last_lines;
mod leftovers;
mod log;
mod log_files;
mod manager;
mod no_exec;
mod notify;
mod output;
mod own_limits;
mod peer;
mod pinned;
mod private_tmp;
mod process;
mod process_record;
mod rendezvous;
mod sandbox;
mod signal_file;
mod signals;
mod sockets;
mod spawn;
mod start;
mod strays;
mod surroundings;
mod system;
mod usage;
mod user;

pub(crate) use cgroup::{Trees, keep_trees, make_trees};
pub use guardian::guardian_main;
pub(crate) use jail::{Jail, open_to_readers, remove_sealed};
pub(crate) use leftovers::end_leftovers;
pub(crate) use manager::tell_manager;
pub(crate) use notify::NotifySocket;
pub(crate) use peer::peer_may_command;
pub(crate) use process::{end_children, reap};
pub(crate) use process_record::{boot, write_private};
pub(crate) use rendezvous::{dismiss_guardian, find_guardian, remove_socket, this_program};
pub(crate) use signals::Signals;
pub(crate) use spawn::{GuardianProcess, GuardianSocket, own_program, start_guardian, start_keeping_guardian};
pub(crate) use system::{
    cache_base, hostname, is_executable, is_same_file, let_through, lock_directory, log_base, memory_bytes, prepare, private_directory,
    runtime_base,
};
pub(crate) use usage::{HostUsageReader, UsageReader};
