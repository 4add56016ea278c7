//! The directory of all output of one agent. It outlives the agent: whoever asks why something died may ask when the agent is gone as well.
//!
//! The output of replicas that are gone is bounded in time, number and bytes, the oldest goes first. Nothing is remembered about it: what is there is looked
//! up in the directory, so whatever an agent before this one left is treated alike. What is not named like the output of a replica stays.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cluster::ReplicaId;
use cluster::app::AppName;

use super::place;
use crate::os;

/// How much is kept of replicas that are gone.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    age: Duration,
    replicas: usize,
    bytes: u64,
}

const BOUNDS: Bounds = Bounds { age: Duration::from_secs(24 * 3_600), replicas: 256, bytes: 1 << 30 };

/// Why an agent cannot use its log directory. That it cannot be made is none: replicas run without.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent uses it.
    #[error("the log directory {0} is in use by another agent; choose another with --log-dir")]
    InUse(PathBuf),
    /// Its path cannot be written down.
    #[error("the log directory {0} has a path that is not UTF-8; choose another with --log-dir")]
    NotUtf8(PathBuf),
}

/// Where an agent keeps what its replicas write.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    /// Held while the agent lives; `None` where the directory cannot be used.
    lock: Option<File>,
}

/// The output of a replica that is gone.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    ended: SystemTime,
    bytes: u64,
}

impl LogDir {
    /// Opens and locks it: `given`, or `logs` in the runtime directory that was `chosen`, or the default for an agent that listens on `listening`. What is too old is removed.
    pub fn open(given: Option<&Path>, chosen: Option<&Path>, listening: SocketAddr) -> Result<Self, Error> {
        let name = crate::runtime_dir::directory_name(listening);
        let (path, siblings) = match (given, chosen) {
            (Some(path), _) => (path.to_owned(), None),
            (None, Some(runtime)) => (runtime.join("logs"), None),
            (None, None) => {
                let base = os::log_base();
                (base.join(name), Some(base))
            }
        };
        let path = std::path::absolute(&path).unwrap_or(path);
        // What goes to the guardian is JSON.
        if path.to_str().is_none() {
            return Err(Error::NotUtf8(path));
        }
        let mut directory = LogDir { path, lock: None };
        match directory.lock() {
            Ok(true) => {}
            Ok(false) => return Err(Error::InUse(directory.path)),
            Err(e) => tracing::warn!(
                "cannot use the log directory {}: {e}; until it can be used, output of replicas is lost",
                directory.path.display()
            ),
        }
        directory.clean(|_| false);
        if let Some(base) = siblings {
            clean_after_others(&base);
        }
        Ok(directory)
    }

    /// False when another agent holds it.
    fn lock(&mut self) -> io::Result<bool> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        os::private_directory(&self.path)?;
        self.lock = os::lock_directory(&self.path)?;
        Ok(self.lock.is_some())
    }

    /// Where the output of a replica is to go.
    pub fn of(&self, app: &AppName, id: ReplicaId) -> PathBuf {
        place::directory(&self.path, app, id)
    }

    /// Where the output of a replica lies that may be gone.
    pub fn find(&self, id: ReplicaId) -> Option<PathBuf> {
        replicas_in(&self.path).into_iter().find(|(of, _)| *of == id).map(|(_, path)| path)
    }

    /// A replica is gone: its output is kept from now on.
    pub fn ended(&self, app: &AppName, id: ReplicaId) {
        // One that wrote nothing has no directory.
        if let Ok(directory) = File::open(self.of(app, id)) {
            let _ = directory.set_modified(SystemTime::now());
        }
    }

    /// Removes what is beyond the bounds of replicas that are not `live`.
    pub fn clean(&self, live: impl Fn(ReplicaId) -> bool) {
        clean(&self.path, live, BOUNDS, SystemTime::now());
    }

    /// The agent ends. The directory stays if there is anything in it.
    pub fn close(self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// What other agents of this host and user left in directories of their own, which no agent uses now.
fn clean_after_others(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(Some(_lock)) = os::lock_directory(&path)
        {
            clean(&path, |_| false, BOUNDS, SystemTime::now());
            // Refused while anything is in it.
            let _ = fs::remove_dir(&path);
        }
    }
}

fn replicas_in(all: &Path) -> Vec<(ReplicaId, PathBuf)> {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((place::replica_of(entry.file_name().to_str()?)?, entry.path()))).collect()
}

fn clean(all: &Path, live: impl Fn(ReplicaId) -> bool, bounds: Bounds, now: SystemTime) {
    let gone = replicas_in(all).into_iter().filter(|(id, _)| !live(*id));
    let mut kept: Vec<Kept> = gone.filter_map(|(_, path)| look(path).ok()).collect();
    // The newest first.
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.ended));
    let mut bytes = 0_u64;
    for (count, kept) in kept.iter().enumerate() {
        bytes = bytes.saturating_add(kept.bytes);
        // A time that is yet to come is no age.
        let is_old = now.duration_since(kept.ended).is_ok_and(|age| age > bounds.age);
        if (is_old || count >= bounds.replicas || bytes > bounds.bytes)
            && let Err(e) = fs::remove_dir_all(&kept.path)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove the old output {}: {e}", kept.path.display());
        }
    }
}

fn look(path: PathBuf) -> io::Result<Kept> {
    let mut ended = fs::symlink_metadata(&path)?.modified()?;
    let mut bytes = 0;
    for number in place::numbers(&path)? {
        let meta = fs::symlink_metadata(place::file(&path, number))?;
        ended = ended.max(meta.modified()?);
        bytes += meta.len();
    }
    Ok(Kept { path, ended, bytes })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn write(all: &Path, id: u128, bytes: usize, age: Duration) -> PathBuf {
        let directory = place::directory(all, &AppName::builtin(), ReplicaId(id));
        fs::create_dir_all(&directory).unwrap();
        let file = place::file(&directory, 1);
        fs::write(&file, vec![b'x'; bytes]).unwrap();
        for path in [&file, &directory] {
            File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        directory
    }

    #[test]
    fn the_oldest_goes_first_and_what_lives_or_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let all = dir.path();
        let [new, middle, old, ancient, live] =
            [(1, HOUR), (2, 2 * HOUR), (3, 3 * HOUR), (4, 9 * HOUR), (5, 99 * HOUR)].map(|(id, age)| write(all, id, 100, age));
        let others = [all.join("notes.txt"), all.join("lost+found"), all.join("worker.1")];
        others.iter().for_each(|path| fs::create_dir(path).unwrap());
        let clean_to = |bounds| clean(all, |id| id == ReplicaId(5), bounds, SystemTime::now());
        let there = || [&new, &middle, &old, &ancient, &live].map(|path| path.exists());
        let bounds = Bounds { age: 8 * HOUR, replicas: 9, bytes: 1_000 };
        clean_to(bounds);
        assert_eq!(there(), [true, true, true, false, true]);
        clean_to(Bounds { bytes: 299, ..bounds });
        assert_eq!(there(), [true, true, false, false, true]);
        clean_to(Bounds { replicas: 1, ..bounds });
        assert_eq!(there(), [true, false, false, false, true]);
        assert!(others.iter().all(|path| path.exists()));
    }

    #[test]
    fn output_counts_from_the_end_of_its_replica_and_is_found_by_id_alone() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogDir::open(None, Some(dir.path()), "127.0.0.1:1".parse().unwrap()).unwrap();
        let path = write(&dir.path().join("logs"), 7, 1, 99 * HOUR);
        logs.ended(&AppName::builtin(), ReplicaId(7));
        logs.clean(|_| false);
        assert_eq!(logs.find(ReplicaId(7)), Some(path));
        assert_eq!(logs.find(ReplicaId(8)), None);
        assert!(matches!(LogDir::open(None, Some(dir.path()), "127.0.0.1:1".parse().unwrap()), Err(Error::InUse(_))));
        logs.close();
        let logs = LogDir::open(None, Some(dir.path()), "127.0.0.1:1".parse().unwrap()).unwrap();
        assert!(logs.find(ReplicaId(7)).is_some(), "it outlives its agent");
    }

    #[test]
    fn directories_of_other_agents_are_cleaned_when_nobody_uses_them() {
        let dir = tempfile::tempdir().unwrap();
        let (idle, used, fresh) = (dir.path().join("9091"), dir.path().join("9092"), dir.path().join("9093"));
        write(&idle, 1, 1, 99 * HOUR);
        let in_use = write(&used, 2, 1, 99 * HOUR);
        let young = write(&fresh, 3, 1, HOUR);
        let _lock = os::lock_directory(&used).unwrap().unwrap();
        clean_after_others(dir.path());
        assert!(!idle.exists() && in_use.exists() && young.exists());
    }

    #[test]
    fn a_directory_that_cannot_be_made_hinders_no_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let logs = LogDir::open(Some(&file.join("logs")), None, "127.0.0.1:1".parse().unwrap()).unwrap();
        assert_eq!(logs.find(ReplicaId(1)), None);
        logs.close();
    }
}
