//! One program of a guardian to the next: the process stays, with its children and its files, and becomes the program of a newer agent.
//!
//! What it has is written as JSON into a memory file that outlives the exec, with the numbers of the files that do. Checks are ended
//! first: the agent that asked for them is gone. Both programs must agree on this, as they must on `guardian::hello`: fields are only
//! added here, with a default.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::ReplicaId;
use cluster::limits::Enforcement;
use cluster::logs::LogSpec;
use cluster::supervise::Exit;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, First, Live};
use super::output::{Output, OutputLeft};
use super::pinned::Pinned;
use super::sockets::{SocketLeft, Sockets};
use super::start::{Cgroups, Held};
use crate::guardian::GUARDIAN_ARG;
use crate::guardian::protocol::{Cgroup, Holding};

/// All that the next program is to have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    /// The connection of the agent.
    pub agent: RawFd,
    replicas: BTreeMap<ReplicaId, EntryLeft>,
    #[serde(default)]
    sockets: Vec<SocketLeft>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryLeft {
    pipes: [RawFd; 2],
    output: OutputLeft,
    directory: PathBuf,
    log: PathBuf,
    log_spec: LogSpec,
    live: Option<LiveLeft>,
    past: Option<Holding>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LiveLeft {
    attempt: u32,
    session: i32,
    started: u64,
    /// The first process is there.
    runs: bool,
    pinned: Option<RawFd>,
    killing: bool,
    cgroup: Option<Cgroup>,
    limiters: Vec<Cgroup>,
    limits: Enforcement,
    #[serde(default)]
    lease: Option<PathBuf>,
    end: Option<(Exit, Vec<String>)>,
}

impl Left {
    /// What these have.
    pub fn of(agent: RawFd, replicas: &mut BTreeMap<ReplicaId, Entry>, sockets: &Sockets) -> Self {
        let live_of = |live: &Live| LiveLeft {
            attempt: live.attempt,
            session: live.session,
            started: live.started,
            runs: matches!(live.first, First::Runs(_)),
            pinned: live.pinned.as_ref().map(|pinned| pinned.as_fd().as_raw_fd()),
            killing: live.killing,
            cgroup: live.cgroups.tree.as_ref().map(|tree| tree.cgroup().clone()),
            limiters: live.cgroups.limiters(),
            limits: live.limits.clone(),
            lease: live.lease.as_ref().map(|lease| lease.path.clone()),
            end: live.end.clone(),
        };
        let mut left = BTreeMap::new();
        for (id, entry) in replicas {
            let output = entry.output.leave();
            let mut pipes = [-1; 2];
            entry.output.readers().zip(&mut pipes).for_each(|((_, pipe), number)| *number = pipe.as_raw_fd());
            let (directory, log) = (entry.directory.clone(), entry.log.clone());
            let live = entry.live.as_ref().map(live_of);
            left.insert(*id, EntryLeft { pipes, output, directory, log, log_spec: entry.log_spec, live, past: entry.past.clone() });
        }
        Left { agent, replicas: left, sockets: sockets.leave() }
    }

    fn files(&self) -> Vec<RawFd> {
        let of_entry = |entry: &EntryLeft| entry.pipes.into_iter().chain(entry.live.as_ref().and_then(|live| live.pinned));
        let sockets = self.sockets.iter().map(|socket| socket.socket);
        [self.agent].into_iter().chain(self.replicas.values().flat_map(of_entry)).chain(sockets).collect()
    }

    /// Becomes this program. Returns only if that fails, and then nothing has changed.
    pub fn exec(&self, program: &Path, name: &str) -> io::Error {
        match self.write_down() {
            Ok(memory) => {
                let files: Vec<RawFd> = self.files().into_iter().chain([memory.as_raw_fd()]).collect();
                set_kept(&files, true);
                let number = memory.as_raw_fd().to_string();
                let error = Command::new(program).arg0(OsStr::new(name)).args([GUARDIAN_ARG, &number]).exec();
                set_kept(&files, false);
                error
            }
            Err(e) => e,
        }
    }

    fn write_down(&self) -> io::Result<File> {
        let mut memory = File::from(memfd_create("ostler-guardian", MemfdFlags::CLOEXEC)?);
        memory.write_all(&serde_json::to_vec(self)?)?;
        memory.rewind()?;
        Ok(memory)
    }

    /// What the program before this one left, if this one was started by it: by its second argument.
    pub fn take() -> io::Result<Option<Self>> {
        let Some(number) = std::env::args().nth(2) else { return Ok(None) };
        let number: RawFd = number.parse().map_err(|_| io::Error::other("the second argument is no descriptor"))?;
        if number < 3 || !std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|file| file.to_string_lossy().contains("memfd:"))
        {
            return Err(io::Error::other("the second argument is no memory file"));
        }
        let left: Left = serde_json::from_reader(io::BufReader::new(File::from(owned(number))))?;
        set_kept(&left.files(), false);
        Ok(Some(left))
    }

    /// As it was, without the numbers of events.
    pub fn entries(self) -> io::Result<(OwnedFd, BTreeMap<ReplicaId, Entry>, Sockets)> {
        let mut entries = BTreeMap::new();
        for (id, left) in self.replicas {
            let live = left.live.map(LiveLeft::live).transpose()?;
            let EntryLeft { pipes, output, directory, log, log_spec, past, .. } = left;
            let output = Output::resume(&directory, &log, log_spec, pipes.map(owned), output);
            entries.insert(id, Entry { output, pipes: 0, directory, log, log_spec, live, past });
        }
        let sockets = self.sockets.into_iter().map(|left| {
            let socket = owned(left.socket);
            (left, socket)
        });
        Ok((owned(self.agent), entries, Sockets::resume(sockets)?))
    }
}

impl LiveLeft {
    fn live(self) -> io::Result<Live> {
        let pid = Pid::from_raw(self.session).ok_or_else(|| io::Error::other("a process has no number"))?;
        Ok(Live {
            attempt: self.attempt,
            session: self.session,
            started: self.started,
            first: if self.runs { First::Runs(pid) } else { First::Ended },
            pinned: self.pinned.map(|pidfd| Pinned::again(pid, owned(pidfd))),
            killing: self.killing,
            cgroups: Cgroups::there(self.cgroup, self.limiters),
            limits: self.limits,
            lease: Held::hold_again(self.lease),
            end: self.end,
        })
    }
}

/// A descriptor that the program before this one left open for it.
fn owned(number: RawFd) -> OwnedFd {
    // SAFETY: the program before this one of this very process wrote the number down for this one alone, each of them once, and left it
    // open; nothing here has opened or closed anything of that number before.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Whether these files stay open for the next program.
fn set_kept(files: &[RawFd], is_kept: bool) {
    for number in files {
        // SAFETY: the descriptor is open and is not closed here; it is borrowed for one call.
        let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(*number) };
        let _ = fcntl_setfd(file, if is_kept { FdFlags::empty() } else { FdFlags::CLOEXEC });
    }
}
