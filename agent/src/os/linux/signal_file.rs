//! Signals as a file: what a process with one thread waits on beside everything else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The signals of a guardian. Those that ask a program to end are taken as well, and mean nothing: the guardian ends with its agent, or
/// when that says so, and the agent sees to it that replicas end in order.
#[derive(Debug)]
pub struct SignalFile(OwnedFd);

impl SignalFile {
    /// Blocks those signals in this process from now on, and opens the file.
    pub fn open() -> io::Result<Self> {
        // SAFETY: `set` is initialised by sigemptyset before it is read; the calls touch nothing else. signalfd returns a new descriptor
        // that nobody else owns, or -1.
        unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
                libc::sigaddset(&raw mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(SignalFile(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Takes what has come: that something came is all that counts.
    pub fn forget(&self) {
        let mut record = [0_u8; 8 * size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.0, &mut record).is_ok_and(|n| n == record.len()) {}
    }
}

impl AsFd for SignalFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
