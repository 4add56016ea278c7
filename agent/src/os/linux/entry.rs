//! What a guardian has of one replica: its pipes, its log, and the attempt of which processes may be left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cluster::ReplicaId;
use cluster::limits::Enforcement;
use cluster::logs::LogSpec;
use cluster::supervise::Exit;
use cluster::tree::Tree as Kind;
use rustix::process::{Pid, Signal, kill_process_group};

use super::cgroup::Tree;
use super::output::Output;
use super::pinned::{Pinned, belonging, kill_belonging};
use super::process::{age_ms, kill_below, kill_child};
use super::process_record::{ProcessRecord, boot};
use super::start::{Cgroups, Held};
use super::strays::Strays;
use crate::guardian::protocol::{Attempt, Holding};

/// One replica.
#[derive(Debug)]
pub struct Entry {
    /// Its pipes and its log.
    pub output: Output,
    /// The first of the two numbers that events of its pipes have.
    pub pipes: u64,
    /// Where its pipes lie, and its record.
    pub directory: PathBuf,
    /// Where its log is kept.
    pub log: PathBuf,
    /// How much of it.
    pub log_spec: LogSpec,
    /// The attempt of which processes may be left.
    pub live: Option<Live>,
    /// How the last attempt ended, until there is another: for an agent that comes later.
    pub past: Option<Holding>,
}

/// An attempt of which processes may be left.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub attempt: u32,
    /// The pid of its first process, which is the number of its session.
    pub session: i32,
    /// When that was started, in clock ticks since boot.
    pub started: u64,
    /// The first process.
    pub first: First,
    /// Holds the first process where it is no child of this one.
    pub pinned: Option<Pinned>,
    /// SIGKILL was asked for.
    pub killing: bool,
    /// Its cgroups, if it has any.
    pub cgroups: Cgroups,
    /// What came of its limits.
    pub limits: Enforcement,
    /// What it uses, held.
    pub lease: Option<Held>,
    /// How its first process ended, and its last lines.
    pub end: Option<(Exit, Vec<String>)>,
}

/// The first process of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It is there.
    Runs(Pid),
    /// It ended since the last look.
    JustEnded,
    /// It ended.
    Ended,
}

impl Live {
    /// What its processes are known by.
    pub fn kind(&self) -> Kind {
        if self.cgroups.tree.is_some() { Kind::Cgroup } else { Kind::Session }
    }

    /// What there is to be said of it.
    pub fn holding(&self, id: ReplicaId) -> Holding {
        let (exit, last_lines) = self.end.clone().unzip();
        Holding {
            attempt: Attempt { id, attempt: self.attempt },
            pid: self.session.unsigned_abs(),
            tree: self.kind(),
            limits: self.limits.clone(),
            age_ms: age_ms(self.started),
            exit,
            last_lines: last_lines.unwrap_or_default(),
            is_gone: false,
        }
    }

    /// What is to be written down of it.
    pub fn record(&self, id: ReplicaId, log: PathBuf, log_spec: LogSpec) -> std::io::Result<ProcessRecord> {
        Ok(ProcessRecord {
            boot: boot()?,
            attempt: Attempt { id, attempt: self.attempt },
            pid: self.session,
            started: self.started,
            cgroup: self.cgroups.tree.as_ref().map(|tree| tree.cgroup().clone()),
            limiters: self.cgroups.limiters(),
            tree: self.kind(),
            limits: self.limits.clone(),
            lease: self.lease.as_ref().map(|lease| lease.path.clone()),
            log,
            log_spec,
        })
    }

    /// SIGTERM to its process group.
    pub fn terminate(&self, id: ReplicaId) {
        match (&self.pinned, self.first) {
            (Some(pinned), _) => pinned.terminate(id, self.cgroups.tree.as_ref()),
            // Once the first process is reaped the number of its group may be somebody else's.
            (None, First::Runs(pid)) => {
                let _ = kill_process_group(pid, Signal::TERM);
            }
            _ => {}
        }
    }

    /// SIGKILL to its first process and all that can be told to be of it; what is left is found by the next look.
    pub fn kill(&self, id: ReplicaId) {
        self.cgroups.tree.iter().for_each(Tree::kill);
        match (&self.pinned, self.first) {
            (Some(pinned), _) => {
                pinned.kill();
                kill_belonging(id, self.cgroups.tree.as_ref());
            }
            (None, First::Runs(pid)) => {
                // First those below: once their parent is dead it is harder to tell whose they are.
                kill_below(pid);
                kill_child(pid);
            }
            _ => {}
        }
    }

    /// SIGKILL again to what is left of it.
    pub fn kill_rest(&self, id: ReplicaId, strays: &Strays) {
        self.cgroups.tree.iter().for_each(Tree::kill);
        if self.pinned.is_some() {
            kill_belonging(id, self.cgroups.tree.as_ref());
        }
        for pid in strays.of(id) {
            kill_below(pid);
            kill_child(pid);
        }
    }

    /// No process of it is left, its first one having ended.
    pub fn is_empty(&self, id: ReplicaId, strays: &Strays) -> bool {
        strays.of(id).next().is_none()
            && self.cgroups.tree.as_ref().is_none_or(Tree::is_empty)
            && (self.pinned.is_none() || belonging(id, None).is_empty())
    }

    /// It is to be looked at again although nothing is heard of it: what is being killed, a cgroup, which may be empty a moment after its
    /// last process was reaped, and what is nobody's child here.
    pub fn is_waited_for(&self) -> bool {
        self.killing || (self.first == First::Ended && (self.cgroups.tree.is_some() || self.pinned.is_some()))
    }
}

/// The first processes that are children here.
pub fn first_children<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<i32> {
    let first = |live: &Live| match live.first {
        First::Runs(pid) if live.pinned.is_none() => Some(pid.as_raw_nonzero().get()),
        _ => None,
    };
    entries.filter_map(|entry| entry.live.as_ref().and_then(first)).collect()
}
