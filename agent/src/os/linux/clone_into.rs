//! Starting a process inside a cgroup (`clone3` with `CLONE_INTO_CGROUP`, Linux 5.7).
//!
//! Moving a process costs the kernel a grace period of some 10 ms unless one was moved just before; a process that is born where it
//! belongs costs nothing.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

/// `struct clone_args` up to `cgroup`: eleven numbers of 64 bits (clone3(2)).
const ARGS: usize = 11;
const AT_FLAGS: usize = 0;
const AT_EXIT_SIGNAL: usize = 4;
const AT_CGROUP: usize = 10;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Starts a command as a child in the cgroup of this directory. `None` where the system cannot, or does not let this process: then
/// nothing was started. This process must have one thread.
pub fn start_into(directory: BorrowedFd<'_>, command: &mut Command) -> io::Result<Option<Pid>> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut args = [0_u64; ARGS];
    args[AT_FLAGS] = CLONE_INTO_CGROUP;
    args[AT_EXIT_SIGNAL] = u64::from(libc::SIGCHLD.unsigned_abs());
    args[AT_CGROUP] = u64::from(directory.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM and with no stack this is a fork: the child runs on in a copy of this process's memory. This process has
    // one thread, so no lock is held by another that the child would wait for. `args` lives over the call and its size is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match i32::try_from(pid) {
        // Refused: errno tells why, and another way is tried whatever it says.
        Ok(..0) | Err(_) => Ok(None),
        Ok(0) => {
            // It returns only if it fails.
            let error = command.exec().raw_os_error().unwrap_or(libc::EINVAL);
            let _ = std::fs::File::from(writer).write_all(&error.to_ne_bytes());
            // SAFETY: ends the child at once; nothing of the parent's is flushed or dropped a second time.
            unsafe { libc::_exit(127) }
        }
        Ok(pid) => {
            let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
            drop(writer);
            let mut error = [0; size_of::<i32>()];
            // The end of the pipe comes with exec, or with the death of the child.
            match std::fs::File::from(reader).read_exact(&mut error) {
                Err(_) => Ok(Some(pid)),
                Ok(()) => {
                    waitpid(Some(pid), WaitOptions::empty())?;
                    Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
                }
            }
        }
    }
}
