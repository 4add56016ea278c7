//! The directory of one running agent: its replicas' pipes. Locked, so that no two agents share it, and gone when the agent
//! ends in order.
//!
//! What lies in it at a start was left by an agent that was killed. Its processes are ended before anything else happens.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cluster::ReplicaId;

use crate::os;

/// Why an agent cannot use its runtime directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent uses it.
    #[error("the runtime directory {0} is in use by another agent; stop that one, or choose another with --runtime-dir")]
    InUse(PathBuf),
    /// Its path cannot be written down.
    #[error("the runtime directory {0} has a path that is not UTF-8; choose another with --runtime-dir")]
    NotUtf8(PathBuf),
    /// It cannot be made or opened.
    #[error("cannot use the runtime directory {path}: {source}; choose another with --runtime-dir")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something of the agent before this one cannot be ended.
    #[error("cannot end what an earlier agent left in {path}: {source}")]
    Leftovers {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A locked runtime directory.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    /// The path as text: the mark of this agent's guardian.
    mark: String,
    _lock: File,
    /// An agent made it; one that somebody else made stays.
    is_ours: bool,
    /// The directory around it is ours as well, and removed when nothing else is in it.
    parent_is_ours: bool,
}

/// How often the making of a directory is tried again, because another agent that ends has just removed it.
const TRIES: u32 = 5;

impl RuntimeDir {
    /// Opens and locks it: `given`, or the default for an agent that listens on `listening`. Ends and removes what an earlier agent
    /// left in it.
    pub fn open(given: Option<&Path>, listening: SocketAddr) -> Result<Self, Error> {
        let (path, parent) = match given {
            Some(path) => (std::path::absolute(path).map_err(|source| Error::Io { path: path.to_owned(), source })?, None),
            None => {
                let (base, must_be_private) = os::runtime_base();
                (base.join(directory_name(listening)), Some((base, must_be_private)))
            }
        };
        let io_error = |source| Error::Io { path: path.clone(), source };
        let mut tries = 0;
        let (made, lock) = loop {
            tries += 1;
            match prepare(&path, parent.as_ref()) {
                Ok((made, Some(lock))) => break (made, lock),
                Ok((_, None)) => return Err(Error::InUse(path)),
                Err(e) if e.kind() == ErrorKind::NotFound && tries < TRIES => {}
                Err(e) => return Err(io_error(e)),
            }
        };
        let path = fs::canonicalize(&path).map_err(io_error)?;
        let mark = path.to_str().ok_or_else(|| Error::NotUtf8(path.clone()))?.to_owned();
        let is_ours = made || parent.is_some() || path.join("replicas").exists() || path.join("logs").exists();
        let directory = RuntimeDir { path, mark, _lock: lock, is_ours, parent_is_ours: parent.is_some() };
        directory.end_leftovers()?;
        Ok(directory)
    }

    /// How a guardian of this agent is known.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where one replica's pipes lie.
    pub fn replica(&self, id: ReplicaId) -> PathBuf {
        self.path.join("replicas").join(id.to_string())
    }

    /// Where the ports stand at which replicas here call other apps.
    pub fn uses(&self) -> PathBuf {
        self.path.join("uses.json")
    }

    /// Removes what lies there of a replica.
    pub fn remove_replica(&self, id: ReplicaId) {
        if let Err(e) = fs::remove_dir_all(self.replica(id))
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!(replica = %id, "cannot remove its pipes: {e}");
        }
    }

    /// Removes it: the agent ends. Where logs lie in it, they stay.
    pub fn remove(self) {
        if let Err(e) = fs::remove_file(self.uses())
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {e}", self.uses().display());
        }
        let removed = fs::remove_dir_all(self.path.join("replicas"));
        if let Err(e) = removed.and_then(|()| if self.is_ours { fs::remove_dir(&self.path) } else { Ok(()) })
            && e.kind() != ErrorKind::DirectoryNotEmpty
        {
            tracing::warn!("cannot remove the runtime directory {}: {e}", self.path.display());
        }
        if self.parent_is_ours
            && let Some(parent) = self.path.parent()
        {
            // Refused while another agent has its directory in it.
            let _ = fs::remove_dir(parent);
        }
    }

    fn end_leftovers(&self) -> Result<(), Error> {
        let leftovers = |source| Error::Leftovers { path: self.path.clone(), source };
        let replicas = self.path.join("replicas");
        let mut ids = BTreeSet::new();
        match fs::read_dir(&replicas) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(leftovers)?.file_name();
                    ids.extend(name.to_str().and_then(|name| name.parse::<ReplicaId>().ok()));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(leftovers(e)),
        }
        let ended = os::end_leftovers(&self.path, &self.mark, &ids).map_err(leftovers)?;
        if ended > 0 || !ids.is_empty() {
            tracing::warn!(replicas = ids.len(), processes = ended, "ended what an agent left behind that was killed");
        }
        match fs::remove_dir_all(&replicas) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(leftovers(e)),
            _ => {}
        }
        os::private_directory(&replicas).map(drop).map_err(leftovers)
    }
}

fn prepare(path: &Path, parent: Option<&(PathBuf, bool)>) -> io::Result<(bool, Option<File>)> {
    match parent {
        Some((base, true)) => drop(os::private_directory(base)?),
        Some((base, false)) => fs::create_dir_all(base)?,
        None => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
        }
    }
    let made = os::private_directory(path)?;
    Ok((made, os::lock_directory(path)?))
}

/// The port; with the address where it is not loopback, since hosts in network namespaces share `/run`.
pub fn directory_name(listening: SocketAddr) -> String {
    if listening.ip().is_loopback() { listening.port().to_string() } else { format!("{}-{}", listening.ip(), listening.port()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn listening() -> SocketAddr {
        "127.0.0.1:9091".parse().unwrap()
    }

    #[test]
    fn a_directory_has_one_agent_and_is_gone_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = RuntimeDir::open(Some(&path), listening()).unwrap();
        let message = RuntimeDir::open(Some(&path), listening()).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && !message.contains('\n'), "{message}");
        first.remove();
        assert!(!path.exists());
        RuntimeDir::open(Some(&path), listening()).unwrap().remove();
    }

    #[test]
    fn what_was_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let id = ReplicaId(u128::MAX - 1);
        let old = dir.path().join("replicas").join(id.to_string());
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("stdout.log"), "x").unwrap();
        let opened = RuntimeDir::open(Some(dir.path()), listening()).unwrap();
        assert!(!old.exists());
        assert_eq!(opened.replica(id), dir.path().canonicalize().unwrap().join("replicas").join(id.to_string()));
    }

    #[test]
    fn a_directory_that_somebody_else_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        RuntimeDir::open(Some(dir.path()), listening()).unwrap().remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_hosts_that_share_a_directory_have_names_of_their_own() {
        assert_eq!(directory_name(listening()), "9091");
        assert_eq!(directory_name("10.0.0.5:9091".parse().unwrap()), "10.0.0.5-9091");
    }

    #[test]
    fn a_file_in_its_place_is_an_error_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let message = RuntimeDir::open(Some(&path), listening()).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}
