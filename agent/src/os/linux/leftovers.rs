//! What an agent and its guardian left behind that were killed in one instant.
//!
//! Then nobody is the parent of their replicas any more, but each process is still in the agent's cgroups, if it had any, which are on
//! record in the runtime directory. And each still has the environment that it was started with, or the pipes: they tell the replica; a
//! guardian has a mark. A process is ended only if it shows one of these when a pidfd already pins it, or is in those cgroups.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use rustix::process::Pid;

use super::cgroup::{self, Tree};
use super::process::{kill_if, replica_of, such, variable_of};
use crate::guardian::GUARDIAN_VARIABLE;

/// A guardian whose agent is gone ends its replicas and itself; it is given this long to do so.
const GUARDIAN_DEADLINE: Duration = Duration::from_secs(1);
/// For all of it.
const DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So many looks in a row must find nothing: a process that forks and ends all the time may slip through one of them.
const EMPTY_LOOKS: u32 = 5;

/// Ends every process in the cgroups on record and of these replicas, and every guardian with this mark. Returns how many processes
/// there were.
pub(crate) fn end_leftovers(runtime: &Path, mark: &str, replicas: &BTreeSet<ReplicaId>) -> io::Result<usize> {
    let is_guardian = |pid| variable_of(pid, GUARDIAN_VARIABLE).is_some_and(|found| found == mark);
    let began = Instant::now();
    while !such(is_guardian)?.is_empty() && began.elapsed() < GUARDIAN_DEADLINE {
        sleep(LOOK_AGAIN);
    }
    let trees = cgroup::left_in(runtime);
    let is_leftover = |pid| is_guardian(pid) || replica_of(pid).is_some_and(|id| replicas.contains(&id));
    let is_nothing_known = replicas.is_empty() && trees.is_empty();
    let ended = end_processes(is_leftover, &trees, is_nothing_known)?;
    // The record goes with the last of them.
    if trees.iter().all(|tree| cgroup::remove_agents(tree.cgroup())) {
        cgroup::forget(runtime);
    }
    Ok(ended)
}

/// Ends all processes for which this holds, and those in the cgroups. One look is enough where nothing is known that they might be of.
fn end_processes(is_leftover: impl Fn(Pid) -> bool, trees: &[Tree], one_look: bool) -> io::Result<usize> {
    let began = Instant::now();
    let mut ended = BTreeSet::new();
    let mut empty_looks = 0;
    loop {
        let mut left = such(&is_leftover)?;
        // Asked of the cgroup and not of each process: one that ended and was not reaped by whoever it fell to still has its cgroup.
        left.extend(trees.iter().flat_map(Tree::members));
        if left.is_empty() && trees.iter().all(Tree::is_empty) {
            empty_looks += 1;
            if empty_looks == EMPTY_LOOKS || (ended.is_empty() && one_look) {
                return Ok(ended.len());
            }
        } else {
            empty_looks = 0;
        }
        if began.elapsed() > DEADLINE {
            let pids: Vec<String> = left.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
            return Err(io::Error::other(format!("processes of an earlier agent do not end: {}", pids.join(", "))));
        }
        // All at once first: the members of a fork bomb do not wait for their turn.
        trees.iter().for_each(Tree::kill);
        for pid in left {
            ended.insert(pid.as_raw_nonzero());
            kill_if(pid, |pid| is_leftover(pid) || trees.iter().any(|tree| tree.holds(pid)));
        }
        sleep(LOOK_AGAIN);
    }
}

/// Ends what was left beside replicas that are adopted: other guardians with this mark, processes of these replicas, and the cgroups of
/// attempts. For a guardian that takes the place of one that died.
pub fn end_beside(mark: &str, replicas: &BTreeSet<ReplicaId>, trees: &[Tree]) -> io::Result<usize> {
    let is_guardian = |pid| variable_of(pid, GUARDIAN_VARIABLE).is_some_and(|found| found == mark);
    let is_leftover = |pid| is_guardian(pid) || replica_of(pid).is_some_and(|id| replicas.contains(&id));
    let ended = end_processes(is_leftover, trees, replicas.is_empty() && trees.is_empty())?;
    trees.iter().for_each(|tree| drop(tree.remove()));
    Ok(ended)
}
