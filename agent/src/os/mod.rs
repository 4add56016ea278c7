//! Everything that differs between operating systems, behind one small interface. `unsafe` is allowed in here only.
//!
//! On Linux an agent runs; elsewhere it says at its start that it does not yet, and the rest of this crate is merely compiled.

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(not(target_os = "linux"))]
use other as imp;

/// The guardian's `main`: no threads, no async.
pub use imp::guardian_main;

/// A guardian that was started, as its parent sees it.
pub(crate) use imp::GuardianProcess;
/// The agent's end of the line to its guardian: a tokio stream.
pub(crate) use imp::GuardianSocket;
/// Reads what this host uses.
pub(crate) use imp::HostUsageReader;
/// A new directory that is filled from outside, and nothing is made beside it.
pub(crate) use imp::Jail;
/// The socket that a replica speaks up at.
pub(crate) use imp::NotifySocket;
/// What the agent is told from outside: goodbye, and that a child of it ended.
pub(crate) use imp::Signals;
/// An agent's cgroup, in which each attempt gets one.
pub(crate) use imp::Trees;
/// Reads what the processes of one attempt use.
pub(crate) use imp::UsageReader;
/// Which boot of the host this is.
pub(crate) use imp::boot;
/// Where this user's agents keep artifacts.
pub(crate) use imp::cache_base;
/// Tells a guardian that waits in a runtime directory to end with all that it has.
pub(crate) use imp::dismiss_guardian;
/// Ends what children of this process are left: true when there are none. Call again until it is.
pub(crate) use imp::end_children;
/// Ends what an agent that is gone left behind.
pub(crate) use imp::end_leftovers;
/// The guardian with this mark that waits in a runtime directory for an agent.
pub(crate) use imp::find_guardian;
/// The name of this host.
pub(crate) use imp::hostname;
/// Whether a path is a regular file that can be executed.
pub(crate) use imp::is_executable;
/// Whether a path still leads to an open file.
pub(crate) use imp::is_same_file;
/// The cgroups of the agent before this one, for replicas that are kept; else new ones.
pub(crate) use imp::keep_trees;
/// Lets other users go through a directory to what they know in it.
pub(crate) use imp::let_through;
/// Locks a directory for as long as the file lives; `None` when somebody else holds it.
pub(crate) use imp::lock_directory;
/// Where this user's agents keep the output of their replicas.
pub(crate) use imp::log_base;
/// Makes a cgroup for an agent, where one can be written.
pub(crate) use imp::make_trees;
/// Memory of this host in bytes; 0 where it is not known.
pub(crate) use imp::memory_bytes;
/// Lets every user look into a directory that only this one can change.
pub(crate) use imp::open_to_readers;
/// The file that this process runs, by path and name.
pub(crate) use imp::own_program;
/// Whether the process at the other end of a loopback connection belongs to root or to this user.
pub(crate) use imp::peer_may_command;
/// Makes this process fit to be an agent.
pub(crate) use imp::prepare;
/// Makes a directory that only this user can enter.
pub(crate) use imp::private_directory;
/// Collects what children of this process ended, by pid, and tells how.
pub(crate) use imp::reap;
/// Removes a directory that nobody could change.
pub(crate) use imp::remove_sealed;
/// Removes the socket that a guardian waited at.
pub(crate) use imp::remove_socket;
/// Where this user's agents keep their runtime directories, and whether others can write beside it.
pub(crate) use imp::runtime_base;
/// Starts a guardian that knows itself by this mark, and the agent's cgroups.
pub(crate) use imp::start_guardian;
/// The same for one that outlives this agent, and waits in a runtime directory for the next.
pub(crate) use imp::start_keeping_guardian;
/// Tells a service manager that waits for it, if there is one.
pub(crate) use imp::tell_manager;
/// Which file this process runs, whatever its path.
pub(crate) use imp::this_program;
/// Writes a file that only this user can read: whole, or not at all.
pub(crate) use imp::write_private;

/// Why this process cannot be an agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not on this system yet.
    #[cfg_attr(target_os = "linux", allow(dead_code))]
    #[error("an agent does not run on {0} yet; run it on Linux")]
    NotYet(&'static str),
    /// A call that an agent cannot do without.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    #[error("this system refuses to {what}: {source}; an agent needs it to end every process that it started")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManagerWord {
    /// The agent listens, and has taken over what there was.
    Ready,
    /// The agent ends.
    Stopping,
}

/// What an agent is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) enum Signal {
    /// SIGINT or SIGHUP.
    Goodbye,
    /// SIGTERM, as a service manager sends it.
    Terminate,
    /// A child ended.
    Child,
}
