//! What processes and the host use, as `/proc` and cgroups tell it.
//!
//! Read once a second for every replica, so it has to be cheap. Opening such a file costs several times as much as reading it: those of
//! a replica are kept open, as long as this process has open files to spare. And where a cgroup says exactly how much processor time
//! was used, nothing else is read while that stands still: processes that do not run open no file and start no thread.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::process::{Pid, Resource, getrlimit};

use super::cgroup::Tree;
use super::process::descendants_of;
use crate::guardian::protocol::Cgroup;
use crate::usage::{HostReading, Reading};

/// The most processes of a replica that are looked at.
const PROCESSES_MAX: usize = 1_000;
/// The most that is read of one file.
const BYTES_MAX: usize = 64 * 1024;
/// Kernels before 6.2 do not tell how many entries a directory of open files has: it is read, in every so many looks.
const COUNT_FILES_EVERY: u32 = 10;

/// Reads what the processes of one attempt use.
#[derive(Debug)]
pub(crate) struct UsageReader {
    pid: Pid,
    /// Its cgroup, while its first process is in there.
    tree: Option<Tree>,
    members: Option<Source>,
    /// Version 2 only: time that was used by those that are gone too.
    cpu: Option<Source>,
    first: Source,
    last: Option<Reading>,
    looks: u32,
    /// Open files, where they must be counted by hand.
    counted: u64,
}

impl UsageReader {
    /// For the attempt with this first process, in this cgroup if it is in one.
    pub fn open(pid: u32, cgroup: Option<Cgroup>) -> Option<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let tree = cgroup.map(Tree::there).filter(|tree| tree.holds(pid));
        let source = |name: &str| tree.as_ref().map(|tree| Source::new(tree.file(name)));
        let cpu = source("cpu.stat").filter(|_| tree.as_ref().is_some_and(|tree| tree.cgroup().hierarchy.is_empty()));
        let first = Source::new(stat_of(pid));
        Some(UsageReader { pid, members: source("cgroup.procs"), tree, cpu, first, last: None, looks: 0, counted: 0 })
    }

    /// What they use now; `None` when they are gone.
    pub fn read(&mut self) -> Option<Reading> {
        let mut room = Vec::new();
        let exact = self.cpu.as_mut().and_then(|file| number_after(file.read(&mut room)?, "usage_usec "));
        if let Some(last) = self.last.filter(|last| Some(last.cpu_us) == exact) {
            return Some(last);
        }
        let members = self.members(&mut room);
        let counts_by_hand = self.looks.is_multiple_of(COUNT_FILES_EVERY);
        let mut sum = Reading::default();
        let mut counted = 0;
        for pid in members.iter().take(PROCESSES_MAX) {
            let text = if *pid == self.pid { self.first.read(&mut room) } else { Source::new(stat_of(*pid)).read_once(&mut room) };
            // It ended meanwhile.
            let Some(process) = text.and_then(Process::parse) else { continue };
            sum.cpu_us = sum.cpu_us.saturating_add(process.cpu_us);
            sum.memory_bytes = sum.memory_bytes.saturating_add(process.memory_bytes);
            sum.threads = sum.threads.saturating_add(process.threads);
            sum.processes += 1;
            match open_files_of(*pid, counts_by_hand) {
                Files::Told(files) => sum.open_files += files,
                Files::Counted(files) => counted += files,
                Files::Unknown => {}
            }
        }
        if sum.processes == 0 {
            return None;
        }
        if counts_by_hand {
            self.counted = counted;
        }
        self.looks = self.looks.wrapping_add(1);
        sum.open_files += self.counted;
        sum.processes += u64::try_from(members.len().saturating_sub(PROCESSES_MAX)).unwrap_or(0);
        // Without a cgroup the time of a process goes with it if nobody waited for it: what was counted once still holds.
        sum.cpu_us = exact.unwrap_or_else(|| sum.cpu_us.max(self.last.map_or(0, |last| last.cpu_us)));
        self.last = Some(sum);
        Some(sum)
    }

    fn members(&mut self, room: &mut Vec<u8>) -> Vec<Pid> {
        let text = self.members.as_mut().and_then(|file| file.read(room)).unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw);
        let mut members: Vec<Pid> = pids.collect();
        if !members.contains(&self.pid) {
            // It made cgroups below its own and moved there, or it never had one.
            members = self.tree.as_ref().map_or_else(|| descendants_of(self.pid), Tree::members);
            members.retain(|pid| *pid != self.pid);
            members.push(self.pid);
        }
        members
    }
}

/// What `/proc/PID/stat` says of one process (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Process {
    cpu_us: u64,
    memory_bytes: u64,
    threads: u64,
}

impl Process {
    /// The name of a process stands in parentheses and may hold anything: what counts comes after the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(11);
        // Its own, and that of children it waited for.
        let ticks: u64 = fields.by_ref().take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        let threads = fields.nth(2)?.parse().ok()?;
        let pages: u64 = fields.nth(3)?.parse().ok()?;
        Some(Process { cpu_us: ticks.saturating_mul(us_per_tick()), memory_bytes: pages.saturating_mul(page_bytes()), threads })
    }
}

fn stat_of(pid: Pid) -> PathBuf {
    format!("/proc/{}/stat", pid.as_raw_nonzero()).into()
}

enum Files {
    Told(u64),
    Counted(u64),
    Unknown,
}

/// Since Linux 6.2 the directory says as its size how many there are (proc_pid_fd(5)).
fn open_files_of(pid: Pid, counts_by_hand: bool) -> Files {
    let directory = format!("/proc/{}/fd", pid.as_raw_nonzero());
    match fs::metadata(&directory).map(|meta| meta.size()) {
        Ok(0) if counts_by_hand => fs::read_dir(directory).map_or(Files::Unknown, |entries| Files::Counted(entries.count() as u64)),
        Ok(0) | Err(_) => Files::Unknown,
        Ok(files) => Files::Told(files),
    }
}

/// A file of the kernel's that is read again and again.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    kept: Option<File>,
}

impl Source {
    fn new(path: PathBuf) -> Self {
        Source { path, kept: None }
    }

    /// Its text, from its beginning. The file stays open if it may.
    fn read<'a>(&mut self, room: &'a mut Vec<u8>) -> Option<&'a str> {
        if self.kept.is_none() {
            let file = File::open(&self.path).ok()?;
            if !is_spare(&file) {
                return text(&file, room);
            }
            self.kept = Some(file);
        }
        text(self.kept.as_ref()?, room)
    }

    /// Its text; the file is closed again.
    fn read_once<'a>(&self, room: &'a mut Vec<u8>) -> Option<&'a str> {
        text(&File::open(&self.path).ok()?, room)
    }
}

/// Numbers of open files are given out from the bottom: the half above is for what matters more than this.
fn is_spare(file: &File) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(file.as_raw_fd()).is_ok_and(|number| number < limit / 2)
}

fn text<'a>(file: &File, room: &'a mut Vec<u8>) -> Option<&'a str> {
    room.resize(room.len().max(4096), 0);
    let mut bytes = 0;
    loop {
        let read = file.read_at(room.get_mut(bytes..)?, u64::try_from(bytes).ok()?).ok()?;
        bytes += read;
        // These files come in one piece if there is room for it, all but lists of processes.
        if read == 0 || bytes < room.len() {
            break;
        }
        if room.len() >= BYTES_MAX {
            break;
        }
        room.resize(room.len() * 2, 0);
    }
    std::str::from_utf8(room.get(..bytes)?).ok()
}

/// The number in the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn us_per_tick() -> u64 {
    1_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Reads what the host uses.
#[derive(Debug)]
pub(crate) struct HostUsageReader {
    stat: Source,
    memory: Source,
    load: Source,
    uptime: Source,
}

impl HostUsageReader {
    /// Of this host.
    pub fn new() -> Self {
        let source = |name: &str| Source::new(format!("/proc/{name}").into());
        HostUsageReader { stat: source("stat"), memory: source("meminfo"), load: source("loadavg"), uptime: source("uptime") }
    }

    /// What it uses now; `None` where that is not told.
    pub fn read(&mut self) -> Option<HostReading> {
        let mut room = Vec::new();
        let cpu_us = busy_ticks(self.stat.read(&mut room)?)?.saturating_mul(us_per_tick());
        let memory = self.memory.read(&mut room)?;
        let [total, available] = ["MemTotal:", "MemAvailable:"].map(|name| number_after(memory, name).map(|kib| kib.saturating_mul(1024)));
        let (memory_bytes, available) = (total?, available?);
        let load_milli = thousandths(self.load.read(&mut room)?)?;
        let uptime_ms = thousandths(self.uptime.read(&mut room)?)?;
        let memory_used_bytes = memory_bytes.saturating_sub(available);
        Some(HostReading { cpu_us, memory_bytes, memory_used_bytes, load_milli, uptime_ms })
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for disks, interrupts of two kinds, and what others on the same
/// hardware took (proc_stat(5)).
fn busy_ticks(text: &str) -> Option<u64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = [0_u64; 7];
    for (at, field) in fields.split_ascii_whitespace().enumerate().take(ticks.len()) {
        *ticks.get_mut(at)? = field.parse().ok()?;
    }
    let [user, nice, system, _idle, _waiting, hard, soft] = ticks;
    Some(user.saturating_add(nice).saturating_add(system).saturating_add(hard).saturating_add(soft))
}

/// The first number of a text, such as `0.25`, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_name_of_a_process_cannot_forge_what_it_uses() {
        let line = "42 (a) R 1 1 (x) y) S 7 42 40 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 5 0 12345 1000 6 7 8";
        let expected = Process { cpu_us: 10 * us_per_tick(), memory_bytes: 6 * page_bytes(), threads: 5 };
        assert_eq!(Process::parse(line), Some(expected));
        assert_eq!(Process::parse("42 (a"), None);
        assert_eq!(Process::parse("42 (a) S 1 2 3"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let mut reader = UsageReader::open(std::process::id(), None).unwrap();
        let before = reader.read().unwrap();
        assert!(before.memory_bytes > 100_000 && before.threads >= 2 && before.open_files >= 3 && before.processes >= 1, "{before:?}");
        let more: Vec<File> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
        // Where they are counted by hand, that is done now and then.
        let after = (0..=COUNT_FILES_EVERY).filter_map(|_| reader.read()).last().unwrap();
        assert!(after.open_files >= 20 + 3, "{after:?} after {before:?}");
        drop(more);
    }

    #[test]
    fn children_count_and_what_is_gone_uses_nothing() {
        let mut child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000 & echo; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = UsageReader::open(child.id(), None).unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        assert_eq!(reader.read().map(|reading| reading.processes), Some(3));
        let shell = Pid::from_child(&child);
        super::super::process::kill_below(shell);
        super::super::process::kill_child(shell);
        child.wait().unwrap();
        assert_eq!(reader.read(), None);
    }

    #[test]
    fn the_host_uses_something() {
        let host = HostUsageReader::new().read().unwrap();
        assert!(host.memory_used_bytes > 0 && host.memory_used_bytes < host.memory_bytes, "{host:?}");
        assert!(host.cpu_us > 0 && host.uptime_ms > 0, "{host:?}");
        assert_eq!(busy_ticks("cpu  1 2 4 8 16 32 64 128 0 0\ncpu0 1"), Some(1 + 2 + 4 + 32 + 64));
        assert_eq!(busy_ticks("intr 1"), None);
        assert_eq!(
            (thousandths("0.25 0.1 x"), thousandths("12.3456"), thousandths("x"), thousandths("")),
            (Some(250), Some(12_345), None, None)
        );
    }
}
