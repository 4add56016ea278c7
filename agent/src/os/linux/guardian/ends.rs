//! The ends of processes: which have ended, what is left of attempts, and the end of everything.

use std::collections::BTreeSet;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use cluster::ReplicaId;
use cluster::supervise::Exit;
use rustix::event::epoll;

use super::{Guardian, agents_cgroups};
use crate::guardian::protocol::{Attempt, Holding, Message};
use crate::os::linux::cgroup::{Tree, remove_agents};
use crate::os::linux::entry::{First, Live, first_children};
use crate::os::linux::pinned::kill_belonging;
use crate::os::linux::process::{Reaped, end_children, exit_of, kill_below, kill_child, reap_one};
use crate::os::linux::process_record;
use crate::os::linux::strays::Suspect;

impl Guardian {
    /// Ends every process of every attempt. When the agent is gone its cgroup goes too.
    pub(super) fn end_all(&self, agent_is_gone: bool) {
        self.line.close();
        let live = || self.replicas.iter().filter_map(|(id, entry)| Some((*id, entry.live.as_ref()?)));
        live().filter_map(|(_, live)| live.cgroups.tree.as_ref()).for_each(Tree::kill);
        let mut adopted: Vec<(ReplicaId, &Live)> = live().filter(|(_, live)| live.pinned.is_some()).collect();
        adopted.iter().for_each(|(id, live)| live.kill(*id));
        while !end_children() || !adopted.is_empty() {
            adopted.retain(|(id, live)| {
                let is_there = live.pinned.as_ref().is_some_and(|pinned| !pinned.has_ended()) || !live.is_empty(*id, &self.strays);
                if is_there {
                    live.cgroups.tree.iter().for_each(Tree::kill);
                    kill_belonging(*id, live.cgroups.tree.as_ref());
                }
                is_there
            });
            sleep(Duration::from_millis(1));
        }
        live().for_each(|(_, live)| live.cgroups.remove());
        // What something is in is left to the next agent on that runtime directory.
        for cgroup in agents_cgroups().iter().filter(|_| agent_is_gone) {
            remove_agents(cgroup);
        }
    }

    /// Collects the children that ended.
    pub(super) fn reap(&mut self) {
        self.checks.before_reaping();
        while let Reaped::One(pid, status) = reap_one() {
            self.strays.reaped(pid);
            if let Some(message) = self.checks.reaped(pid, status, &mut self.room.buffer) {
                self.queue(&message);
            }
            let ended = self.replicas.iter_mut().find_map(|(id, entry)| {
                let live = entry.live.as_mut().filter(|live| live.first == First::Runs(pid) && live.pinned.is_none())?;
                live.first = First::JustEnded;
                let attempt = Attempt { id: *id, attempt: live.attempt };
                let exit = match exit_of(status) {
                    Exit::Signal(libc::SIGKILL) if live.cgroups.has_killed() => Exit::OutOfMemory(None),
                    Exit::Code(code) if code != 0 && live.cgroups.has_killed() => Exit::OutOfMemory(Some(code)),
                    exit => exit,
                };
                entry.output.drain_all(&mut self.room);
                let last_lines = entry.output.last_lines();
                live.end = Some((exit, last_lines.clone()));
                Some(Message::Exited { attempt, exit, last_lines })
            });
            if let Some(message) = ended {
                if let Message::Exited { attempt, .. } = &message {
                    self.checks.end_of(*attempt);
                }
                self.queue(&message);
            }
        }
    }

    /// Looks which adopted first processes have ended. How, only their parent knows.
    pub(super) fn see_pinned(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        for (id, entry) in &mut self.replicas {
            let Some(live) = entry.live.as_mut().filter(|live| matches!(live.first, First::Runs(_))) else { continue };
            let Some(pinned) = live.pinned.as_ref().filter(|pinned| pinned.has_ended()) else { continue };
            epoll::delete(&self.epoll, pinned)?;
            live.first = First::JustEnded;
            let exit = if live.cgroups.has_killed() { Exit::OutOfMemory(None) } else { Exit::Unknown };
            entry.output.drain_all(&mut self.room);
            let last_lines = entry.output.last_lines();
            live.end = Some((exit, last_lines.clone()));
            ended.push(Message::Exited { attempt: Attempt { id: *id, attempt: live.attempt }, exit, last_lines });
        }
        for message in ended {
            if let Message::Exited { attempt, .. } = &message {
                self.checks.end_of(*attempt);
            }
            self.queue(&message);
        }
        Ok(())
    }

    /// Looks for what is left of attempts whose first process ended: kills it where that was asked for, and says so when nothing is.
    pub(super) fn sweep(&mut self) -> io::Result<()> {
        let mut first: BTreeSet<i32> = self.checks.pids().collect();
        first.extend(first_children(self.replicas.values()));
        let mut suspects = Vec::new();
        for (id, entry) in &self.replicas {
            let Some(live) = &entry.live else { continue };
            let just_ended = live.first == First::JustEnded;
            suspects.push(Suspect { id: *id, session: live.session, started: live.started, tree: live.cgroups.tree.as_ref(), just_ended });
        }
        self.strays.look(&first, &suspects)?;
        let mut gone = Vec::new();
        for (id, entry) in &mut self.replicas {
            let Some(live) = &mut entry.live else { continue };
            if !matches!(live.first, First::Runs(_)) {
                live.first = First::Ended;
                let has_checks = self.checks.any_of(Attempt { id: *id, attempt: live.attempt });
                if !has_checks && live.is_empty(*id, &self.strays) {
                    live.cgroups.remove();
                    process_record::remove(&entry.directory);
                    entry.past = Some(Holding { is_gone: true, ..live.holding(*id) });
                    gone.push(Attempt { id: *id, attempt: live.attempt });
                    entry.live = None;
                    continue;
                }
            }
            if live.killing {
                live.kill_rest(*id, &self.strays);
            }
        }
        for attempt in gone {
            self.queue(&Message::TreeGone { attempt });
        }
        self.end_unowned();
        Ok(())
    }

    /// Orphans that nobody owns end when no replica is left that they might belong to.
    pub(super) fn end_unowned(&self) {
        if self.replicas.values().all(|entry| entry.live.is_none()) {
            for pid in self.strays.unowned() {
                kill_below(pid);
                kill_child(pid);
            }
        }
    }
}
