//! What a replica in a sandbox may do with files, as Landlock rules. Which places are open to all, and why: docs/sandbox.md.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cluster::limits::ENFORCED;
use cluster::run_as::Sandbox;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::landlock::{self, Access, Ruleset};

/// Programs, libraries, and what they read at their start, where it is there. Not `/etc` as a whole: secrets lie in it.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/locale.alias",
    "/etc/locale.conf",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/networks",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/rpc",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices without a memory.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What belongs to one start of a replica, beside its sandbox.
#[derive(Debug)]
pub struct Own<'a> {
    /// The file that is started.
    pub program: &'a Path,
    /// Its pipes, which it may open again by way of `/dev/stdout`.
    pub pipes: Vec<PathBuf>,
    /// The directory of its artifact, which others may use as well: it can read and run what is there.
    pub artifact: Option<&'a Path>,
    /// Its working directory, if it has one that is its own.
    pub working_dir: Option<&'a Path>,
    /// Its temporary directory.
    pub tmp: Option<&'a OwnedFd>,
}

/// The rules of a sandbox, where this kernel can enforce any, and what is to be said of that.
///
/// # Errors
/// A path that cannot be opened.
pub fn rules(sandbox: &Sandbox, own: &Own<'_>) -> io::Result<(Option<Ruleset>, String)> {
    // What is wrong with the sandbox is told on every kernel alike.
    let mut wanted = Vec::new();
    for (paths, name, access) in [(&sandbox.read, "sandbox.read", Access::Read), (&sandbox.write, "sandbox.write", Access::Write)] {
        for path in paths {
            wanted.push((named(Path::new(path), name)?, access));
        }
    }
    if let Some(path) = own.working_dir {
        wanted.push((named(path, "run_as.working_dir")?, Access::Write));
    }
    if let Some(path) = own.artifact {
        wanted.push((named(path, "its artifact")?, Access::Read));
    }
    wanted.push((named(own.program, "the program")?, Access::Read));
    let abi = match landlock::abi() {
        Ok(abi) => abi,
        Err(why) => return Ok((None, format!("not enforced: {why}"))),
    };
    for pipe in &own.pipes {
        wanted.push((named(pipe, "its pipe")?, Access::Use));
    }
    let rules = Ruleset::new(abi)?;
    for (file, access) in &wanted {
        rules.allow(file.as_fd(), *access)?;
    }
    if let Some(tmp) = own.tmp {
        rules.allow(tmp.as_fd(), Access::Write)?;
    }
    for (paths, access) in [(SYSTEM, Access::Read), (DEVICES, Access::Use)] {
        for file in paths.iter().filter_map(|path| open(Path::new(path)).ok()) {
            rules.allow(file.as_fd(), access)?;
        }
    }
    Ok((Some(rules), format!("{ENFORCED} (Landlock ABI {abi})")))
}

fn named(path: &Path, what: &str) -> io::Result<OwnedFd> {
    let sentence = |e: io::Error| io::Error::other(format!("{what} {} cannot be opened for its sandbox: {e}", path.display()));
    open(path).map_err(sentence)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}
