//! How the guardian is started, and what every process that is started here does first.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use super::rendezvous;
use crate::guardian::{CGROUPS_VARIABLE, GUARDIAN_ARG, GUARDIAN_VARIABLE, KEEP_VARIABLE, protocol};

/// The kernel's signals are 1 to 64, a set of them 8 bytes (signal(7); not so on MIPS, where this does nothing).
const LAST_SIGNAL: libc::c_int = 64;
const SIGNAL_SET_BYTES: usize = 8;

pub(crate) type GuardianSocket = tokio::net::UnixStream;

/// A guardian that was started.
#[derive(Debug)]
pub(crate) struct GuardianProcess {
    pid: u32,
    /// Its pid may mean another process once it was reaped; this never does.
    pidfd: OwnedFd,
}

impl GuardianProcess {
    /// One that somebody else started.
    pub fn new(pid: u32, pidfd: OwnedFd) -> Self {
        GuardianProcess { pid, pidfd }
    }

    /// Its pid, for people.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGKILL.
    pub fn kill(&self) {
        // It may be gone already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Starts this very program as a guardian, which removes the agent's cgroups if the agent does not live to do it.
pub(crate) fn start_guardian(mark: &str, cgroups: &[protocol::Cgroup]) -> io::Result<(GuardianProcess, GuardianSocket)> {
    let (ours, theirs) = UnixStream::pair()?;
    let process = start_program(mark, cgroups, OwnedFd::from(theirs), None)?;
    ours.set_nonblocking(true)?;
    Ok((process, GuardianSocket::from_std(ours)?))
}

/// The same for one that outlives this agent: it waits for the next one in the runtime directory.
pub(crate) fn start_keeping_guardian(
    runtime: &Path,
    mark: &str,
    cgroups: &[protocol::Cgroup],
) -> io::Result<(GuardianProcess, GuardianSocket)> {
    let listener = rendezvous::bind(runtime)?;
    let process = start_program(mark, cgroups, OwnedFd::from(listener), Some(&rendezvous::path(runtime)))?;
    let Some(ours) = rendezvous::connect(runtime)? else { return Err(io::Error::other("its socket is gone already")) };
    ours.set_nonblocking(true)?;
    Ok((process, GuardianSocket::from_std(ours)?))
}

fn start_program(mark: &str, cgroups: &[protocol::Cgroup], stdin: OwnedFd, keep: Option<&Path>) -> io::Result<GuardianProcess> {
    let (program, name) = own_program();
    let mut command = Command::new(program);
    command.arg0(name).arg(GUARDIAN_ARG).env(GUARDIAN_VARIABLE, mark).stdin(Stdio::from(stdin)).stdout(Stdio::null());
    command.env(CGROUPS_VARIABLE, serde_json::to_string(cgroups)?).env_remove("NOTIFY_SOCKET");
    match keep {
        Some(socket) => command.env(KEEP_VARIABLE, socket),
        None => command.env_remove(KEEP_VARIABLE),
    };
    // SAFETY: `detach` makes system calls only, each of them async-signal-safe.
    unsafe { command.pre_exec(detach) };
    let pid = command.spawn()?.id();
    // Nothing reaps between the two lines: this process has one thread that does, and it is here.
    let pidfd = pidfd_open(to_pid(pid)?, PidfdFlags::empty())?;
    Ok(GuardianProcess { pid, pidfd })
}

/// The file that this process runs. Its path, unless an upgrade has put another file there: agent and guardian must be one version.
pub(crate) fn own_program() -> (PathBuf, OsString) {
    let proc = Path::new("/proc/self/exe");
    let same_file = |path: &PathBuf| match (fs::metadata(path), fs::metadata(proc)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    let program = std::env::current_exe().ok().filter(same_file).unwrap_or_else(|| proc.to_owned());
    let name = std::env::args_os().next().unwrap_or_else(|| program.clone().into_os_string());
    (program, name)
}

/// A session of its own, signals as they are by default, none of them blocked, and no open file that was not meant for it.
pub fn detach() -> io::Result<()> {
    setsid()?;
    // SAFETY: `none` is initialised by sigemptyset before it is read; it is this process's own mask that is set.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // The system call itself: libc keeps two of the signals to itself, and they can be inherited ignored like any other.
    let default = [0_u64; 8];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: zeroes are the kernel's sigaction for the default disposition, and `default` is longer than that; only this process,
        // which has one thread, is changed. Refused for SIGKILL and SIGSTOP, whose disposition is never another.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), SIGNAL_SET_BYTES) };
    }
    // Whoever started the agent may have left files open. Kernels before 5.11 cannot do this: then those files stay open.
    // SAFETY: marks descriptors from 3 on as close-on-exec; no memory is touched.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// A number that the standard library has for a child.
pub fn to_pid(raw: u32) -> io::Result<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other(format!("{raw} is not a pid")))
}
