//! A process that is nobody's child here: a replica that was adopted from a guardian that died.
//!
//! Its pid may mean another process as soon as it has ended, since somebody else reaps it. So it is held by a pidfd, and what may
//! be below it or beside it is signalled one by one, each by a pidfd of its own and after a second look.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cluster::ReplicaId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Tree;
use super::process::{Stat, descendants_of, group_of, kill_if, replica_of, signal_if, stat, such};

/// The first process of an attempt, held.
#[derive(Debug)]
pub struct Pinned {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Pinned {
    /// Holds a process, if `is_the_one` holds of it while it is held; a sentence why not. `Ok(None)`: it has ended.
    pub fn hold(pid: Pid, is_the_one: impl Fn(Pid) -> Result<(), String>) -> Result<Option<Self>, String> {
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(format!("process {} cannot be held: {}", pid.as_raw_nonzero(), io::Error::from(e))),
        };
        let pinned = Pinned { pid, pidfd };
        if pinned.has_ended() {
            return Ok(None);
        }
        match is_the_one(pid) {
            Ok(()) => Ok(Some(pinned)),
            // Nothing can be said of one that ended meanwhile.
            Err(_) if pinned.has_ended() => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// One that another program of this very process held.
    pub fn again(pid: Pid, pidfd: OwnedFd) -> Self {
        Pinned { pid, pidfd }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// It ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// SIGTERM to it, and to those of its process group that are the replica's.
    pub fn terminate(&self, id: ReplicaId, tree: Option<&Tree>) {
        let group = self.pid.as_raw_nonzero().get();
        for pid in belonging(id, tree) {
            signal_if(pid, Signal::TERM, |pid| group_of(pid) == Some(group) && belongs(pid, id, tree));
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
    }

    /// SIGKILL to it and to what is below it.
    pub fn kill(&self) {
        let below: Vec<(Pid, Stat)> = descendants_of(self.pid).into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect();
        // Its number was its own until now, so those were below it and not below another.
        if !self.has_ended() {
            below.iter().for_each(|(pid, seen)| kill_if(*pid, |pid| stat(pid) == Some(*seen)));
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

impl AsFd for Pinned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The processes that show that they are the replica's, wherever they are.
pub fn belonging(id: ReplicaId, tree: Option<&Tree>) -> Vec<Pid> {
    such(|pid| belongs(pid, id, tree)).unwrap_or_default()
}

/// SIGKILL to those.
pub fn kill_belonging(id: ReplicaId, tree: Option<&Tree>) {
    for pid in belonging(id, tree) {
        kill_if(pid, |pid| belongs(pid, id, tree));
    }
}

fn belongs(pid: Pid, id: ReplicaId, tree: Option<&Tree>) -> bool {
    tree.is_some_and(|tree| tree.holds(pid)) || replica_of(pid) == Some(id)
}
