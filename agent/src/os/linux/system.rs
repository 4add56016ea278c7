//! The host, its files, and what a process may do.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getpid, getrlimit, getuid, set_child_subreaper, setrlimit};

use super::process;
use crate::os::Error;

/// Makes this process the one that gets the orphans of what it starts, and lets it open as many files as it may.
pub(crate) fn prepare() -> Result<(), Error> {
    set_child_subreaper(Some(getpid())).map_err(|e| Error::Refused { what: "make it a subreaper", source: e.into() })?;
    process::children_of(getpid()).map_err(|source| Error::Refused { what: "list its children (/proc/PID/task/TID/children)", source })?;
    let files = getrlimit(Resource::Nofile);
    // What is refused here leaves the limit where it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    Ok(())
}

pub(crate) fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

pub(crate) fn memory_bytes() -> u64 {
    let total_kib = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    total_kib().map_or(0, |kib| kib.saturating_mul(1024))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

pub(crate) fn runtime_base() -> (PathBuf, bool) {
    let uid = getuid();
    if uid.is_root() {
        return (PathBuf::from("/run/ostler"), false);
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => (path.join("ostler"), false),
        None => (std::env::temp_dir().join(format!("ostler-{}", uid.as_raw())), true),
    }
}

/// On a disk that outlives the host's memory: what systemd gives (`LogsDirectory=`, the first of a list), else where the Filesystem Hierarchy
/// Standard 3.0 section 5.10 and the XDG Base Directory Specification have logs.
pub(crate) fn log_base() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let given = std::env::var("LOGS_DIRECTORY").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
    if let Some(path) = given.filter(|path| path.is_absolute()) {
        return path;
    }
    if getuid().is_root() {
        return PathBuf::from("/var/log/ostler");
    }
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.unwrap_or_else(|| runtime_base().0).join("ostler/logs")
}

/// What systemd gives (`CacheDirectory=`, the first of a list), else where the Filesystem Hierarchy Standard 3.0 section 5.5 and the XDG
/// Base Directory Specification have what can be fetched again.
pub(crate) fn cache_base() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let given = std::env::var("CACHE_DIRECTORY").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
    if let Some(path) = given.filter(|path| path.is_absolute()) {
        return path;
    }
    if getuid().is_root() {
        return PathBuf::from("/var/cache/ostler");
    }
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.map_or_else(|| runtime_base().0.join("cache"), |cache| cache.join("ostler"))
}

/// Others may have made the directory first where everybody may write: then it must be ours and closed to them.
/// True when it was not there before.
pub(crate) fn private_directory(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"));
    }
    if meta.uid() != getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "other users may write to it"));
    }
    Ok(false)
}

/// For a replica of another user, who gets no further than to what is its own: nothing in it can be listed. An agent that is no root has no
/// such replicas.
pub(crate) fn let_through(path: &Path) -> io::Result<()> {
    if !getuid().is_root() {
        return Ok(());
    }
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    if mode & 0o011 == 0o011 { Ok(()) } else { fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o011)) }
}

pub(crate) fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let directory = File::open(path)?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // Whoever held it may have removed it between our open and our lock.
    if is_same_file(&directory, path)? {
        Ok(Some(directory))
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it was removed meanwhile"))
    }
}

/// Whether a path still leads to an open file.
pub(crate) fn is_same_file(open: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (open.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}
