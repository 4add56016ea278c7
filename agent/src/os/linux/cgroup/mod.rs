//! Cgroups: what no process of a replica leaves by forking, by a session of its own, or by wiping its environment.
//!
//! An agent has one directory in one hierarchy, and in it one for each attempt; in version 1 it has others like it in the hierarchies
//! that limit. Absent from here: anything that depends on it. Where no
//! hierarchy can be written, an attempt is known by descent, session and environment, as it is with a cgroup too.

mod hierarchy;
pub mod limit;
mod place;
mod record;
mod tree;
mod trees;

pub use record::{left_in, remove as forget};
pub use tree::Tree;
pub use trees::remove_agents;
pub(crate) use trees::{Trees, keep_trees, make_trees};
