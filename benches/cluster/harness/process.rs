//! Processes as `/proc` knows them. A pid alone is not one: it is pid and start time together.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    start_ticks: u64,
}

/// What a process holds in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident: pages that are shared count in full.
    pub rss: f64,
    /// Proportional: pages that are shared are divided among those who share them.
    pub pss: f64,
}

/// What `/proc/PID/stat` says of a process that runs.
struct Stat {
    parent: i32,
    start_ticks: u64,
}

/// None when there is no such process, or it has ended and only waits to be reaped.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too (proc_pid_stat(5)).
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(17)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Stat { parent, start_ticks })
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Process> {
        stat(pid).map(|stat| Process { pid, start_ticks: stat.start_ticks })
    }

    /// It has ended, reaped or not.
    pub fn is_gone(&self) -> bool {
        stat(self.pid).is_none_or(|stat| stat.start_ticks != self.start_ticks)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).ok_or_else(|| anyhow!("{} is no pid", self.pid))?;
        kill_process(pid, signal).with_context(|| format!("cannot signal process {}", self.pid))
    }

    /// The processes that it started and that still run.
    pub fn children(pid: i32) -> Vec<Process> {
        all().into_iter().filter(|(_, parent)| *parent == pid).map(|(process, _)| process).collect()
    }

    /// Its children, theirs, and so on.
    pub fn descendants(pid: i32) -> Vec<Process> {
        let all = all();
        let mut found: Vec<Process> = Vec::new();
        let mut parents = vec![pid];
        while let Some(pid) = parents.pop() {
            for (process, _) in all.iter().filter(|(_, parent)| *parent == pid) {
                found.push(*process);
                parents.push(process.pid);
            }
        }
        found
    }

    /// The processor time that its threads used so far, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).with_context(|| format!("process {} has ended", self.pid))?;
        let texts = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        Ok(texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// What it holds in memory.
    pub fn memory(&self) -> Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))
            .with_context(|| format!("cannot read the memory of process {}", self.pid))?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib: Option<f64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
            kib.map(|kib| kib * 1024.0).ok_or_else(|| anyhow!("/proc/{}/smaps_rollup has no {name}", self.pid))
        };
        Ok(Memory { rss: bytes("Rss:")?, pss: bytes("Pss:")? })
    }
}

/// All processes that run, each with its parent's pid.
fn all() -> Vec<(Process, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).map(|stat| (Process { pid, start_ticks: stat.start_ticks }, stat.parent))).collect()
}
