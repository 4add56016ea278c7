//! Checks that are commands: started like the replica they belong to, each in a session of its own, and ended whole when their time is
//! over or their replica's is.
//!
//! What a check starts in the background ends with it; what leaves its session counts as the replica's own from then on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitStatus, kill_process_group, waitid};

use super::last_lines::LastLines;
use super::process::{kill_below, kill_child};
use super::start::{Cgroups, start_beside};
use crate::guardian::protocol::{Attempt, Check, CheckEnd, Message};

/// The numbers of events from here on are pipes of checks.
pub const CHECKS: u64 = 1 << 62;

/// Those that run.
#[derive(Debug, Default)]
pub struct ExecChecks {
    running: BTreeMap<i32, Run>,
    next: u64,
}

#[derive(Debug)]
struct Run {
    of: Attempt,
    nth: usize,
    until: Instant,
    number: u64,
    /// What it writes, while it may.
    pipe: Option<File>,
    said: LastLines,
    /// Its outcome was told: it is only waited for.
    is_told: bool,
}

impl ExecChecks {
    /// Starts one. What is wrong with it comes back as its outcome.
    pub fn start(&mut self, check: &Check, cgroups: &Cgroups, epoll: &OwnedFd) -> Option<Message> {
        let of = check.spawn.attempt;
        let failed = |error: String| Some(Message::Checked { attempt: of, nth: check.nth, end: CheckEnd::NotStarted(error) });
        if self.running.values().any(|run| (run.of, run.nth) == (of, check.nth)) {
            return failed("did not end although it got SIGKILL".to_owned());
        }
        match self.spawn(check, cgroups, epoll) {
            Ok(()) => None,
            Err(e) => failed(format!("cannot be started: {e}")),
        }
    }

    fn spawn(&mut self, check: &Check, cgroups: &Cgroups, epoll: &OwnedFd) -> io::Result<()> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&reader, OFlags::NONBLOCK)?;
        let number = CHECKS + self.next;
        self.next += 1;
        epoll::add(epoll, &reader, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        let pid = start_beside(&check.spawn, cgroups, writer.try_clone()?, writer)?;
        let run = Run {
            of: check.spawn.attempt,
            nth: check.nth,
            until: Instant::now() + Duration::from_millis(check.timeout_ms),
            number,
            pipe: Some(File::from(reader)),
            said: LastLines::default(),
            is_told: false,
        };
        self.running.insert(pid.as_raw_nonzero().get(), run);
        Ok(())
    }

    /// Their processes.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.running.keys().copied()
    }

    /// Whether one of an attempt runs.
    pub fn any_of(&self, of: Attempt) -> bool {
        self.running.values().any(|run| run.of == of)
    }

    /// How long until the next one's time is over, in milliseconds.
    pub fn wait_ms(&self) -> Option<u64> {
        let until = self.running.values().filter(|run| !run.is_told).map(|run| run.until).min()?;
        let left = until.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// One of them wrote something, or will not write any more.
    pub fn drain(&mut self, number: u64, buffer: &mut [u8]) {
        if let Some(run) = self.running.values_mut().find(|run| run.number == number) {
            run.drain(buffer);
        }
    }

    /// Ends those whose time is over, and tells of them.
    pub fn end_late(&mut self) -> Vec<Message> {
        let now = Instant::now();
        let mut messages = Vec::new();
        for (pid, run) in self.running.iter_mut().filter(|(_, run)| !run.is_told && run.until <= now) {
            end_whole(*pid);
            run.is_told = true;
            messages.push(Message::Checked { attempt: run.of, nth: run.nth, end: CheckEnd::TooLate });
        }
        messages
    }

    /// Ends those of an attempt.
    pub fn end_of(&mut self, of: Attempt) {
        self.running.iter().filter(|(_, run)| run.of == of).for_each(|(pid, _)| end_whole(*pid));
    }

    /// Ends all of them, and tells nobody.
    pub fn end_all(&mut self) {
        for (pid, run) in &mut self.running {
            run.is_told = true;
            end_whole(*pid);
        }
    }

    /// Before children are reaped: what one that ended leaves in its group ends too. Its number is its own until it is reaped.
    pub fn before_reaping(&self) {
        for pid in self.running.keys().filter_map(|pid| Pid::from_raw(*pid)) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if let Ok(Some(_)) = waitid(WaitId::Pid(pid), options) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
        }
    }

    /// A child was reaped. Tells how a check went.
    pub fn reaped(&mut self, pid: Pid, status: WaitStatus, buffer: &mut [u8]) -> Option<Message> {
        let mut run = self.running.remove(&pid.as_raw_nonzero().get())?;
        run.drain(buffer);
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => CheckEnd::Passed,
            (Some(code), _) => CheckEnd::Failed(with_last(format!("exited with code {code}"), &run.said)),
            (None, signal) => CheckEnd::Failed(with_last(format!("was ended by signal {}", signal.unwrap_or(0)), &run.said)),
        };
        (!run.is_told).then_some(Message::Checked { attempt: run.of, nth: run.nth, end })
    }
}

impl Run {
    fn drain(&mut self, buffer: &mut [u8]) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(buffer) {
            Ok(n) if n > 0 => self.said.feed(&buffer[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Nobody has it open for writing any more.
            _ => self.pipe = None,
        }
    }
}

fn with_last(words: String, said: &LastLines) -> String {
    match said.texts().pop() {
        Some(line) => format!("{words}; its last line: {line}"),
        None => words,
    }
}

/// SIGKILL to a check and everything below it: those that left its group too.
fn end_whole(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        kill_below(pid);
        let _ = kill_process_group(pid, Signal::KILL);
        kill_child(pid);
    }
}
