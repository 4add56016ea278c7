//! Landlock (landlock(7)): a process gives up all access to files but what rules allow, for itself and all its children, for ever.
//!
//! By its system calls: what this kernel can do must be known, and said, before there is a process to restrict
//! (docs/decisions/0018-landlock-by-its-system-calls.md).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{FileType, fstat};

/// Execute a file.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
/// Character devices; with those below to `MAKE_SYM` what a directory may get.
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
/// Move or link from one directory to another (ABI 2; before, that is always denied).
const REFER: u64 = 1 << 13;
/// Cut a file short (ABI 3; before, that is always allowed).
const TRUNCATE: u64 = 1 << 14;
/// Commands to devices (ABI 5; before, they are always allowed).
const IOCTL_DEV: u64 = 1 << 15;

/// Rights that files have that are no directories.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;

/// What a rule allows on a file, or below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and run.
    Read,
    /// Read, run, write, make and remove; no device files.
    Write,
    /// Read and write, and neither make nor remove.
    Use,
}

impl Access {
    fn rights(self) -> u64 {
        match self {
            Access::Read => EXECUTE | READ_FILE | READ_DIR,
            Access::Use => READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV,
            Access::Write => {
                let make = MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM;
                Access::Read.rights() | Access::Use.rights() | make | REMOVE_DIR | REMOVE_FILE | REFER
            }
        }
    }
}

/// All rights that a kernel with this ABI knows.
fn known(abi: i32) -> u64 {
    let first = Access::Write.rights() & !(REFER | TRUNCATE | IOCTL_DEV) | MAKE_CHAR | MAKE_BLOCK;
    [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)].into_iter().filter(|(since, _)| abi >= *since).fold(first, |all, (_, right)| all | right)
}

/// The Landlock ABI of this kernel, from 1.
///
/// # Errors
/// Words that follow "not enforced: ".
pub fn abi() -> Result<i32, &'static str> {
    // SAFETY: with this flag no memory is read: the pointer must be null and the size 0.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    match i32::try_from(abi) {
        Ok(abi @ 1..) => Ok(abi),
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Err("Landlock is switched off on this host (boot parameter lsm=)")
        }
        _ => Err("this kernel has no Landlock (Linux 5.13)"),
    }
}

/// Rules, by which nothing is allowed as long as none was added.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    known: u64,
}

impl Ruleset {
    /// One without rules, for a kernel with this ABI.
    pub fn new(abi: i32) -> io::Result<Self> {
        let known = known(abi);
        // SAFETY: the first field of landlock_ruleset_attr is the rights on files, and the size says that no other follows; the kernel
        // reads them only. It returns a new descriptor that nobody else owns, or -1.
        unsafe {
            let fd = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const known, size_of_val(&known), 0_u32);
            match i32::try_from(fd) {
                Ok(fd @ 0..) => Ok(Ruleset { fd: OwnedFd::from_raw_fd(fd), known }),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Allows this on a file, or on a directory with all that is below.
    pub fn allow(&self, file: BorrowedFd<'_>, access: Access) -> io::Result<()> {
        let is_directory = FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory;
        let rights = access.rights() & self.known & if is_directory { u64::MAX } else { OF_FILES };
        // `struct landlock_path_beneath_attr`: the rights and the descriptor, with nothing between or behind.
        let mut rule = [0_u8; 12];
        rule[..8].copy_from_slice(&rights.to_ne_bytes());
        rule[8..].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
        // SAFETY: the kernel reads the twelve bytes of a rule of this kind, and both descriptors are open.
        let done = unsafe { libc::syscall(libc::SYS_landlock_add_rule, self.fd.as_raw_fd(), PATH_BENEATH, rule.as_ptr(), 0_u32) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Restricts this process, which must have one thread and have given up new privileges. A system call only.
    pub fn enforce(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open; no memory is touched.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0_u32) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_knows_grows_with_its_abi() {
        // The numbers of the kernel's own table (include/uapi/linux/landlock.h): 13 rights at first, 16 with ABI 5.
        assert_eq!(
            [1, 2, 3, 4, 5, 9].map(known),
            [(1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1, (1 << 16) - 1]
        );
        assert_eq!(Access::Write.rights() & (MAKE_CHAR | MAKE_BLOCK), 0);
    }
}
