//! The guardian: the one small process that is the parent of every replica.
//!
//! It is single-threaded, so it may do between fork and exec what a threaded program may not, and its parent-death signal fires when it
//! ends, not when some thread does. When the agent ends, however that comes about, the guardian sees its socket close, ends every
//! process of every replica, and then itself. When the guardian ends first, its children die with it and what they had started
//! falls to the agent, which ends it before it starts another guardian.
//!
//! With `--keep-workers` both are outlived by the replicas: a guardian waits at a socket in the runtime directory for the next agent, and
//! one that comes after a guardian that died adopts its replicas by what is on record there.
//!
//! Here are what the two say to each other and the agent's side of it. The process itself is in `os`.

pub mod hello;
pub mod keeper;
mod line;
pub mod protocol;

/// The first argument of the program that makes it a guardian. For the agent's use, not for people.
pub const GUARDIAN_ARG: &str = "__guardian";
/// The variable in a guardian's environment that tells whose it is: the agent's runtime directory.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub const GUARDIAN_VARIABLE: &str = "OSTLER_GUARDIAN";
/// The variable in a guardian's environment that tells its agent's cgroups, as JSON, where there are any.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub const CGROUPS_VARIABLE: &str = "OSTLER_GUARDIAN_CGROUPS";
/// The variable in a guardian's environment that tells it to outlive its agent, with its replicas.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub const KEEP_VARIABLE: &str = "OSTLER_GUARDIAN_KEEP";
