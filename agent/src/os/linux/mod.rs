//! Linux.

mod exec_checks;
mod guardian;
mod last_lines;
mod leftovers;
mod notify;
mod output;
mod peer;
mod process;
mod signals;
mod spawn;
mod strays;
mod system;

pub use guardian::guardian_main;
pub(crate) use leftovers::end_leftovers;
pub(crate) use notify::NotifySocket;
pub(crate) use peer::peer_may_command;
pub(crate) use process::{end_children, reap};
pub(crate) use signals::Signals;
pub(crate) use spawn::{GuardianProcess, GuardianSocket, start_guardian};
pub(crate) use system::{hostname, is_executable, is_same_file, lock_directory, memory_bytes, prepare, private_directory, runtime_base};
