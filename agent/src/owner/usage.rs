//! Looking at what replicas and the host use, a few replicas at a time: each once a second, and no moment in which all are.
//!
//! What is new goes out with the next heartbeat, so that it wakes no watcher by itself.

use std::ops::Bound;

use cluster::ReplicaId;
use cluster::tree::Tree;
use cluster::usage::{ReplicaUsage, USAGE_EVERY_MS, Usage};

use super::Owner;
use crate::guardian::protocol::Attempt;
use crate::os::UsageReader;
use crate::slot::Slot;
use crate::usage::{Metered, MeteredHost};

/// How many replicas are looked at in one turn.
const LOOKS_MAX: usize = 25;

/// The round of looks.
#[derive(Debug)]
pub struct UsageRound {
    host: MeteredHost,
    host_due_ms: u64,
    /// The last replica that was looked at.
    last: Option<ReplicaId>,
    /// When the next ones are due, in monotonic milliseconds.
    pub due_ms: u64,
}

impl UsageRound {
    /// One that begins at once.
    pub fn new() -> Self {
        UsageRound { host: MeteredHost::new(), host_due_ms: 0, last: None, due_ms: 0 }
    }
}

impl Owner {
    /// Looks at those whose turn it is.
    pub(super) fn look_at_usage(&mut self, now_ms: u64) {
        if now_ms < self.usage.due_ms {
            return;
        }
        if now_ms >= self.usage.host_due_ms {
            self.usage.host_due_ms = now_ms + USAGE_EVERY_MS;
            self.usage.host.look(now_ms);
        }
        let after = self.usage.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut looks = 0;
        for (id, slot) in self.slots.range_mut((after, Bound::Unbounded)).take(LOOKS_MAX) {
            looks += 1;
            self.usage.last = Some(*id);
            let Some(pid) = slot.attempt.pid else { continue };
            if slot.attempt.usage.is_none() {
                let of = Attempt { id: *id, attempt: slot.replica.attempt };
                let cgroup = slot.attempt.tree.filter(|tree| *tree == Tree::Cgroup).and_then(|_| self.keeper.cgroup(of));
                slot.attempt.usage = UsageReader::open(pid, cgroup).map(Metered::by);
            }
            slot.attempt.usage.iter_mut().for_each(|usage| usage.look(now_ms));
        }
        if looks < LOOKS_MAX {
            self.usage.last = None;
        }
        // So that a whole round takes a second, however many there are.
        let part = USAGE_EVERY_MS * LOOKS_MAX as u64 / (self.slots.len().max(LOOKS_MAX) as u64);
        self.usage.due_ms = now_ms + part.max(1);
    }

    /// What is new since this was asked last; `None` when nothing is.
    pub(super) fn new_usage(&mut self) -> Option<Usage> {
        let host = self.usage.host.uses.filter(|_| std::mem::take(&mut self.usage.host.is_new));
        let replicas = self.slots.iter_mut().filter_map(|(id, slot)| {
            let usage = slot.attempt.usage.as_mut()?;
            std::mem::take(&mut usage.is_new).then(|| of(*id, slot)).flatten()
        });
        Some(Usage { host, replicas: replicas.collect() }).filter(|usage| !usage.is_empty())
    }

    /// All that is known.
    pub(super) fn all_usage(&self) -> Usage {
        Usage { host: self.usage.host.uses, replicas: self.slots.iter().filter_map(|(id, slot)| of(*id, slot)).collect() }
    }
}

fn of(id: ReplicaId, slot: &Slot) -> Option<ReplicaUsage> {
    let uses = slot.attempt.pid.and(slot.attempt.usage.as_ref())?.uses?;
    Some(ReplicaUsage { id, attempt: slot.replica.attempt, uses })
}
