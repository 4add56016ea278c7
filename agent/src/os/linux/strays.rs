//! Whose are the orphans that the guardian gets?
//!
//! A process whose parent ended becomes the guardian's child. It belongs to the replica whose cgroup it is in, or whose session, else to the one that its
//! environment names, else to the one that its output goes to. A daemon may have left all three behind: it belongs to the replica whose
//! first process ended when it turned up, if it is younger than that. What cannot be told is nobody's: it ends when nothing else is left,
//! or with the agent.

use std::collections::{BTreeMap, BTreeSet};

use cluster::ReplicaId;
use rustix::process::{Pid, getpid};

use super::cgroup::Tree;
use super::process::{self, replica_of, stat};

/// An attempt of which processes may be left.
#[derive(Clone, Copy, Debug)]
pub struct Suspect<'a> {
    /// The replica.
    pub id: ReplicaId,
    /// The pid of its first process, which is the number of its session.
    pub session: i32,
    /// When that was started, in clock ticks since boot.
    pub started: u64,
    /// Its cgroup.
    pub tree: Option<&'a Tree>,
    /// It ended since the last look.
    pub just_ended: bool,
}

/// The orphans, with their owners. Each is looked at once: its pid is its own until the guardian reaps it.
#[derive(Debug, Default)]
pub struct Strays {
    owners: BTreeMap<i32, Option<ReplicaId>>,
}

impl Strays {
    /// A child of the guardian was reaped.
    pub fn reaped(&mut self, pid: Pid) {
        self.owners.remove(&pid.as_raw_nonzero().get());
    }

    /// Looks for children of the guardian that are no replica's first process.
    pub fn look(&mut self, first: &BTreeSet<i32>, suspects: &[Suspect<'_>]) -> std::io::Result<()> {
        for pid in process::children_of(getpid())? {
            let number = pid.as_raw_nonzero().get();
            if !first.contains(&number) && !self.owners.contains_key(&number) {
                self.owners.insert(number, owner_of(pid, suspects));
            }
        }
        Ok(())
    }

    /// What is left of a replica.
    pub fn of(&self, id: ReplicaId) -> impl Iterator<Item = Pid> {
        self.owners.iter().filter(move |(_, owner)| **owner == Some(id)).filter_map(|(pid, _)| Pid::from_raw(*pid))
    }

    /// Nobody's.
    pub fn unowned(&self) -> impl Iterator<Item = Pid> {
        self.owners.iter().filter(|(_, owner)| owner.is_none()).filter_map(|(pid, _)| Pid::from_raw(*pid))
    }
}

fn owner_of(pid: Pid, suspects: &[Suspect<'_>]) -> Option<ReplicaId> {
    if let Some(suspect) = suspects.iter().find(|suspect| suspect.tree.is_some_and(|tree| tree.holds(pid))) {
        return Some(suspect.id);
    }
    let stat = stat(pid)?;
    if let Some(suspect) = suspects.iter().find(|suspect| suspect.session == stat.session) {
        return Some(suspect.id);
    }
    if let Some(id) = replica_of(pid) {
        return suspects.iter().any(|suspect| suspect.id == id).then_some(id);
    }
    suspects.iter().find(|suspect| suspect.just_ended && suspect.started <= stat.started).map(|suspect| suspect.id)
}
