//! Processes as `/proc` shows them, and how they are ended.
//!
//! A pid means something only while its process is not reaped. Children that this process has not reaped are safe to signal by number;
//! everything else is signalled through a pidfd, after a second look.

use std::fs;
use std::io::{self, ErrorKind};

use cluster::ReplicaId;
use cluster::logs::Stream;
use cluster::supervise::Exit;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, pidfd_open, pidfd_send_signal, wait};

use crate::program::REPLICA_ID_VARIABLE;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its parent; 0 for a process that has none here.
    pub parent: i32,
    /// Its session: the pid of the process that made it.
    pub session: i32,
    /// When it was started, in clock ticks since boot.
    pub started: u64,
}

/// Reads the stat of a process; `None` when it is gone.
pub fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse_stat(&text)
}

/// The name of a process stands in parentheses and may hold anything: what counts comes after the last one (proc_pid_stat(5)).
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let after_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(after_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok());
    Some(Stat {
        parent: i32::try_from(number(1)?).ok()?,
        session: i32::try_from(number(3)?).ok()?,
        started: u64::try_from(number(19)?).ok()?,
    })
}

/// The process group of a process; `None` when it is gone.
pub fn group_of(pid: Pid) -> Option<i32> {
    let text = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let after_name = text.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(text.get(after_name + 1..)?).ok()?.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// How long ago a process was started, in milliseconds.
pub fn age_ms(started: u64) -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime_s = uptime.split_ascii_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    // Whole milliseconds of an uptime are far below what a u64 holds.
    let uptime_ms = std::time::Duration::try_from_secs_f64(uptime_s).unwrap_or_default().as_millis();
    u64::try_from(uptime_ms).unwrap_or(u64::MAX).saturating_sub(started.saturating_mul(1_000) / ticks)
}

/// All processes but this one for which `fits` holds.
pub fn such(fits: impl Fn(Pid) -> bool) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        found.extend(pid.filter(|pid| *pid != getpid() && fits(*pid)));
    }
    Ok(found)
}

/// The children of a process: those of each of its threads, zombies too.
pub fn children_of(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(text) => children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw)),
            // A thread that ended between the two.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(e) if e.kind() == ErrorKind::NotFound && stat(pid).is_none() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(children)
}

/// All processes below `root`, without it, parents first.
pub fn descendants_of(root: Pid) -> Vec<Pid> {
    let mut found: Vec<Pid> = children_of(root).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        for child in children_of(pid).unwrap_or_default() {
            // A pid that was reused while this was being read could close a circle.
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

/// Whose process it is, as far as it shows: by the environment that it was started with, else by where it writes. A daemon that wiped
/// its environment mostly still has the pipes.
pub fn replica_of(pid: Pid) -> Option<ReplicaId> {
    let named = variable_of(pid, REPLICA_ID_VARIABLE).and_then(|id| id.parse().ok());
    named.or_else(|| [1, 2].into_iter().find_map(|fd| owner_of_pipe(pid, fd)))
}

/// The replica whose pipe an open file of a process is: its directory has the replica's id as name.
fn owner_of_pipe(pid: Pid, fd: i32) -> Option<ReplicaId> {
    let target = fs::read_link(format!("/proc/{}/fd/{fd}", pid.as_raw_nonzero())).ok()?;
    let name = target.file_name()?.to_str()?;
    // The directory may have been removed meanwhile; the files of its output, beside the pipes, are for anybody to read.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let is_pipe = name == Stream::Stdout.name() || name == Stream::Stderr.name();
    target.parent()?.file_name()?.to_str()?.parse().ok().filter(|_| is_pipe)
}

/// The value of a variable in the environment that a process was started with. `None` as well when it may not be read.
pub fn variable_of(pid: Pid, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    environ.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// SIGKILL to a process, if `is_the_one` still holds once a pidfd pins it.
pub fn kill_if(pid: Pid, is_the_one: impl Fn(Pid) -> bool) {
    signal_if(pid, Signal::KILL, is_the_one);
}

/// The same with any signal.
pub fn signal_if(pid: Pid, signal: Signal, is_the_one: impl Fn(Pid) -> bool) {
    // A process that is gone is what was wanted; one that may not be signalled is found again by the caller's next look.
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        && is_the_one(pid)
    {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// SIGKILL to everything below `root`, and to nothing that was started later under a reused pid.
pub fn kill_below(root: Pid) {
    for pid in descendants_of(root) {
        let Some(seen) = stat(pid) else { continue };
        kill_if(pid, |pid| stat(pid) == Some(seen));
    }
}

/// SIGKILL to a child of this process that it has not reaped: its pid cannot mean another.
pub fn kill_child(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// A child that ended, reaped; `None` when none has.
pub fn reap_one() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Reaped::One(pid, status),
            Ok(None) => return Reaped::NoneYet,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Reaped::NoChildren,
        }
    }
}

/// What a look for ended children found.
#[derive(Debug)]
pub enum Reaped {
    /// This one.
    One(Pid, WaitStatus),
    /// All children live.
    NoneYet,
    /// There are no children.
    NoChildren,
}

/// Collects the children that ended, and tells how.
pub(crate) fn reap() -> Vec<(u32, Exit)> {
    let mut ended = Vec::new();
    while let Reaped::One(pid, status) = reap_one() {
        ended.push((pid.as_raw_nonzero().get().unsigned_abs(), exit_of(status)));
    }
    ended
}

/// How a child ended.
pub fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

/// One round of ending all children: each gets SIGKILL, what ended is reaped. As a subreaper this process gets the children of those
/// that die, so calling it until it is true ends them all, however deep. True when there are none.
pub(crate) fn end_children() -> bool {
    for pid in children_of(getpid()).unwrap_or_default() {
        kill_child(pid);
    }
    loop {
        match reap_one() {
            Reaped::One(..) => {}
            Reaped::NoneYet => return false,
            Reaped::NoChildren => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_name_of_a_process_cannot_forge_its_stat() {
        let line = b"42 (a) R 1 1 (x) y) S 7 42 40 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, session: 40, started: 12345 }));
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let me = stat(getpid()).unwrap();
        assert_eq!(me.parent, rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert_eq!(variable_of(getpid(), "PATH"), std::env::var("PATH").ok());
        assert_eq!(variable_of(getpid(), "NO_SUCH_VARIABLE"), None);
    }
}
