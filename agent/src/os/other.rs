//! Systems on which an agent does not run yet. [`prepare`] says so at its start; what follows it is never reached.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cluster::ReplicaId;
use cluster::supervise::Exit;

use super::{Error, ManagerWord, Signal};
use crate::guardian::hello::Program;
use crate::guardian::protocol::{Attempt, Cgroup};
use crate::usage::{HostReading, Reading};

const NAME: &str = if cfg!(windows) {
    "Windows"
} else if cfg!(target_os = "macos") {
    "macOS"
} else {
    "this system"
};

pub(crate) fn prepare() -> Result<(), Error> {
    Err(Error::NotYet(NAME))
}

/// The guardian's `main`: there is none here.
#[must_use]
pub fn guardian_main() -> ExitCode {
    ExitCode::FAILURE
}

fn not_yet() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, Error::NotYet(NAME))
}

pub(crate) type GuardianSocket = tokio::io::DuplexStream;

/// There is none.
#[derive(Debug)]
pub(crate) struct GuardianProcess(Infallible);

impl GuardianProcess {
    pub fn pid(&self) -> u32 {
        match self.0 {}
    }

    pub fn kill(&self) {
        match self.0 {}
    }
}

pub(crate) fn start_guardian(_mark: &str, _cgroups: &[Cgroup]) -> io::Result<(GuardianProcess, GuardianSocket)> {
    Err(not_yet())
}

pub(crate) fn start_keeping_guardian(_runtime: &Path, _mark: &str, _cgroups: &[Cgroup]) -> io::Result<(GuardianProcess, GuardianSocket)> {
    Err(not_yet())
}

pub(crate) fn find_guardian(_runtime: &Path, _mark: &str) -> io::Result<Option<(GuardianProcess, GuardianSocket)>> {
    Ok(None)
}

pub(crate) fn dismiss_guardian(_runtime: &Path) {}

pub(crate) fn remove_socket(_runtime: &Path) {}

pub(crate) fn this_program() -> io::Result<Program> {
    Err(not_yet())
}

pub(crate) fn own_program() -> (PathBuf, OsString) {
    (PathBuf::new(), OsString::new())
}

pub(crate) fn tell_manager(_word: ManagerWord) {}

pub(crate) fn boot() -> io::Result<String> {
    Err(not_yet())
}

pub(crate) fn write_private(_path: &Path, _bytes: &[u8]) -> io::Result<()> {
    Err(not_yet())
}

/// There is none.
#[derive(Clone, Debug)]
pub(crate) struct Trees(Infallible);

impl Trees {
    pub fn all(&self) -> Vec<Cgroup> {
        match self.0 {}
    }

    pub fn limiters(&self, _attempt: Attempt) -> Vec<Cgroup> {
        match self.0 {}
    }

    pub fn of(&self, _attempt: Attempt) -> Cgroup {
        match self.0 {}
    }

    pub fn end(&self) -> bool {
        match self.0 {}
    }

    pub fn remove(&self) {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct NotifySocket(Infallible);

impl NotifySocket {
    pub fn bind(_path: &Path) -> io::Result<Self> {
        Err(not_yet())
    }

    pub async fn next(&self, _root: u32) -> io::Result<String> {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Jail(Infallible);

impl Jail {
    pub fn make(_path: &Path) -> io::Result<Self> {
        Err(not_yet())
    }

    pub fn directory(&self, _path: &str) -> io::Result<()> {
        match self.0 {}
    }

    pub fn file(&self, _path: &str) -> io::Result<File> {
        match self.0 {}
    }

    pub fn seal_file(_file: &File, _is_program: bool) -> io::Result<()> {
        Err(not_yet())
    }

    pub fn seal<'a>(&self, _directories: impl Iterator<Item = &'a str>) -> io::Result<()> {
        match self.0 {}
    }
}

/// Nothing is known.
#[derive(Debug)]
pub(crate) struct UsageReader(Infallible);

impl UsageReader {
    pub fn open(_pid: u32, _cgroup: Option<Cgroup>) -> Option<Self> {
        None
    }

    pub fn read(&mut self) -> Option<Reading> {
        match self.0 {}
    }
}

pub(crate) fn remove_sealed(_path: &Path) -> io::Result<()> {
    Err(not_yet())
}

pub(crate) fn open_to_readers(_path: &Path) -> io::Result<()> {
    Err(not_yet())
}

pub(crate) fn is_same_file(_open: &File, _path: &Path) -> io::Result<bool> {
    Err(not_yet())
}

/// Nothing is known.
#[derive(Debug)]
pub(crate) struct HostUsageReader;

impl HostUsageReader {
    pub fn new() -> Self {
        HostUsageReader
    }

    pub fn read(&mut self) -> Option<HostReading> {
        None
    }
}

pub(crate) fn make_trees(_runtime: &Path) -> Option<Trees> {
    None
}

pub(crate) fn keep_trees(_runtime: &Path) -> Option<Trees> {
    None
}

/// There are none.
#[derive(Debug)]
pub(crate) struct Signals(Infallible);

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Err(not_yet())
    }

    pub async fn next(&mut self) -> Signal {
        match self.0 {}
    }
}

pub(crate) fn reap() -> Vec<(u32, Exit)> {
    vec![]
}

pub(crate) fn end_children() -> bool {
    true
}

pub(crate) fn end_leftovers(_runtime: &Path, _mark: &str, _replicas: &BTreeSet<ReplicaId>) -> io::Result<usize> {
    Err(not_yet())
}

pub(crate) fn hostname() -> String {
    std::env::var(if cfg!(windows) { "COMPUTERNAME" } else { "HOSTNAME" }).unwrap_or_else(|_| "localhost".to_owned())
}

pub(crate) fn memory_bytes() -> u64 {
    0
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file()
}

pub(crate) fn runtime_base() -> (PathBuf, bool) {
    (std::env::temp_dir().join("ostler"), false)
}

pub(crate) fn log_base() -> PathBuf {
    std::env::temp_dir().join("ostler-logs")
}

pub(crate) fn cache_base() -> PathBuf {
    std::env::temp_dir().join("ostler-cache")
}

pub(crate) fn private_directory(_path: &Path) -> io::Result<bool> {
    Err(not_yet())
}

pub(crate) fn let_through(_path: &Path) -> io::Result<()> {
    Err(not_yet())
}

pub(crate) fn lock_directory(_path: &Path) -> io::Result<Option<File>> {
    Err(not_yet())
}

pub(crate) fn peer_may_command(_peer: SocketAddr, _local: SocketAddr) -> bool {
    false
}
