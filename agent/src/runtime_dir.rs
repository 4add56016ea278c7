//! The directory of one running agent: its replicas' pipes. Locked, so that no two agents share it, and gone when the agent
//! ends in order.
//!
//! What lies in it at a start was left by an agent that was killed. Its processes are ended before anything else happens, unless they are
//! to be kept: then the guardian and the records that lie there tell of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cluster::ReplicaId;

use crate::os;
use crate::record;

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

/// The name of the link in a replica's directory that leads to its temporary directory, where it has one.
pub const TMP_LINK: &str = "tmp";

/// The name of the socket in a replica's directory that it may speak up at.
pub const NOTIFY_SOCKET: &str = "notify";

/// How often the making of a directory is tried again, because another agent that ends has just removed it.
const TRIES: u32 = 5;

impl RuntimeDir {
    /// Opens and locks it: `given`, or the default for an agent that listens on `listening`. Ends and removes what an earlier agent
    /// left in it, unless that is to be kept.
    pub fn open(given: Option<&Path>, listening: SocketAddr, keeps: bool) -> Result<Self, Error> {
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
        if keeps {
            let leftovers = |source| Error::Leftovers { path: directory.path.clone(), source };
            os::private_directory(&directory.path.join("replicas")).map_err(leftovers)?;
        } else {
            directory.end_leftovers()?;
        }
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

    /// The replicas of which anything lies there.
    pub fn replicas(&self) -> io::Result<Vec<ReplicaId>> {
        let mut ids = Vec::new();
        match fs::read_dir(self.path.join("replicas")) {
            Ok(entries) => {
                for entry in entries {
                    ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<ReplicaId>().ok()));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(ids)
    }

    /// Makes the directory of a replica that runs as another user, who must get to what is its own in there, and no further.
    pub fn let_through(&self, id: ReplicaId) -> io::Result<()> {
        let replica = self.replica(id);
        os::private_directory(&replica)?;
        if self.parent_is_ours
            && let Some(parent) = self.path.parent()
        {
            os::let_through(parent)?;
        }
        [&self.path, &self.path.join("replicas"), &replica].into_iter().try_for_each(|path| os::let_through(path))
    }

    /// Removes it: the agent ends. Where logs lie in it, they stay.
    pub fn remove(self) {
        if let Err(e) = fs::remove_file(self.uses())
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {e}", self.uses().display());
        }
        os::remove_socket(&self.path);
        record::remove_obeyed(&self.path);
        let removed = remove_replicas(&self.path.join("replicas"));
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

    /// Ends what is left of an earlier agent, or of this one after it said goodbye.
    pub fn end_leftovers(&self) -> Result<(), Error> {
        let leftovers = |source| Error::Leftovers { path: self.path.clone(), source };
        let replicas = self.path.join("replicas");
        let ids: BTreeSet<ReplicaId> = self.replicas().map_err(leftovers)?.into_iter().collect();
        // One that outlived its agent waits for the next, and this one does not want it.
        os::dismiss_guardian(&self.path);
        let ended = os::end_leftovers(&self.path, &self.mark, &ids).map_err(leftovers)?;
        if ended > 0 || !ids.is_empty() {
            tracing::warn!(replicas = ids.len(), processes = ended, "ended what an agent left behind that was killed");
        }
        os::remove_socket(&self.path);
        record::remove_obeyed(&self.path);
        match remove_replicas(&replicas) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(leftovers(e)),
            _ => {}
        }
        os::private_directory(&replicas).map(drop).map_err(leftovers)
    }
}

/// Where the temporary files of a replica lie: among those of this host.
pub fn tmp_of(id: ReplicaId) -> PathBuf {
    std::env::temp_dir().join(tmp_name(id))
}

fn tmp_name(id: ReplicaId) -> String {
    format!("ostler-{id}")
}

/// Removes the directory of a replica and its temporary directory. Links in them are removed and never followed. It takes its time where
/// there are many files.
pub fn remove_replica(directory: &Path) -> io::Result<()> {
    let id = directory.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<ReplicaId>().ok());
    if let (Some(id), Ok(tmp)) = (id, fs::read_link(directory.join(TMP_LINK)))
        && tmp.file_name().is_some_and(|name| *name == *tmp_name(id))
    {
        match fs::remove_dir_all(&tmp) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(io::Error::new(e.kind(), format!("cannot remove {}: {e}", tmp.display())));
            }
            _ => {}
        }
    }
    fs::remove_dir_all(directory)
}

fn remove_replicas(replicas: &Path) -> io::Result<()> {
    for entry in fs::read_dir(replicas)? {
        let entry = entry?;
        // Where temporary files resist, the pipes go all the same.
        if entry.file_type()?.is_dir()
            && let Err(e) = remove_replica(&entry.path())
        {
            tracing::warn!("cannot remove what a replica left: {e}");
        }
    }
    fs::remove_dir_all(replicas)
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

    use std::os::unix::fs::symlink;

    use super::*;

    fn listening() -> SocketAddr {
        "127.0.0.1:9091".parse().unwrap()
    }

    #[test]
    fn a_directory_has_one_agent_and_is_gone_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = RuntimeDir::open(Some(&path), listening(), false).unwrap();
        let message = RuntimeDir::open(Some(&path), listening(), false).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && !message.contains('\n'), "{message}");
        first.remove();
        assert!(!path.exists());
        RuntimeDir::open(Some(&path), listening(), false).unwrap().remove();
    }

    #[test]
    fn what_was_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let id = ReplicaId(u128::MAX - 1);
        let old = dir.path().join("replicas").join(id.to_string());
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("stdout.log"), "x").unwrap();
        let opened = RuntimeDir::open(Some(dir.path()), listening(), false).unwrap();
        assert!(!old.exists());
        assert_eq!(opened.replica(id), dir.path().canonicalize().unwrap().join("replicas").join(id.to_string()));
    }

    #[test]
    fn the_temporary_directory_goes_with_its_replica_and_nothing_that_links_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let id = ReplicaId(7);
        let (replica, tmp, other) = (dir.path().join(id.to_string()), dir.path().join(tmp_name(id)), dir.path().join("other"));
        for path in [&replica, &tmp, &other] {
            fs::create_dir(path).unwrap();
        }
        fs::write(other.join("file"), "kept").unwrap();
        symlink(&other, tmp.join("link")).unwrap();
        symlink(&tmp, replica.join(TMP_LINK)).unwrap();
        remove_replica(&replica).unwrap();
        assert!(!tmp.exists() && !replica.exists() && other.join("file").exists());
        // A link that leads to what no agent makes, and one that its user has put in the place of the directory.
        fs::create_dir(&replica).unwrap();
        symlink(&other, replica.join(TMP_LINK)).unwrap();
        remove_replica(&replica).unwrap();
        assert!(other.join("file").exists());
        fs::create_dir(&replica).unwrap();
        symlink(&other, &tmp).unwrap();
        symlink(&tmp, replica.join(TMP_LINK)).unwrap();
        remove_replica(&replica).unwrap();
        assert!(other.join("file").exists() && fs::symlink_metadata(&tmp).is_err());
    }

    #[test]
    fn a_directory_that_somebody_else_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        RuntimeDir::open(Some(dir.path()), listening(), false).unwrap().remove();
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
        let message = RuntimeDir::open(Some(&path), listening(), false).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}
