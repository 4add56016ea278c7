//! What a guardian writes down of the process of an attempt, so that the next one can adopt it: one file in the replica's directory.
//!
//! A file proves nothing by itself. The process is taken for the replica's only if it was started at the recorded tick of the recorded boot,
//! is in the recorded cgroup, and shows the replica's id.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cluster::ReplicaId;
use cluster::limits::Enforcement;
use cluster::logs::LogSpec;
use cluster::tree::Tree as Kind;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::cgroup::Tree;
use super::pinned::Pinned;
use super::process::{replica_of, stat};
use crate::guardian::protocol::{Attempt, Cgroup};

/// Its name.
const FILE: &str = "process.json";

/// The process of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The boot of the host that the rest is of.
    pub boot: String,
    /// Which attempt.
    pub attempt: Attempt,
    /// Its first process.
    pub pid: i32,
    /// When that was started, in clock ticks since boot: field 22 of proc_pid_stat(5).
    pub started: u64,
    /// The cgroup that holds its processes.
    pub cgroup: Option<Cgroup>,
    /// Those that limit them.
    pub limiters: Vec<Cgroup>,
    /// What its processes are known by.
    pub tree: Kind,
    /// What came of its limits.
    pub limits: Enforcement,
    /// The file whose lock keeps what it uses.
    #[serde(default)]
    pub lease: Option<PathBuf>,
    /// Where its log is kept.
    pub log: PathBuf,
    /// How much of it.
    pub log_spec: LogSpec,
}

impl ProcessRecord {
    /// Writes it into the directory of its replica: whole, or not at all.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        write_private(&directory.join(FILE), &serde_json::to_vec(self)?)
    }

    /// Holds the process. `Ok(None)`: it has ended; an error says why it is not adopted.
    pub fn prove(&self) -> Result<Option<Pinned>, String> {
        if boot().ok().as_deref() != Some(&self.boot) {
            return Err("it stems from before this host was started".to_owned());
        }
        let pid = Pid::from_raw(self.pid).filter(|_| self.pid > 1).ok_or("it names no process")?;
        let tree = self.cgroup.clone().map(Tree::there);
        let number = self.pid;
        Pinned::hold(pid, |pid| {
            if stat(pid).is_none_or(|stat| stat.started != self.started) {
                return Err(format!("process {number} is another, started at another time"));
            }
            if tree.as_ref().is_some_and(|tree| !tree.holds(pid)) {
                return Err(format!("process {number} is not in the cgroup of the replica"));
            }
            match replica_of(pid) {
                Some(id) if id == self.attempt.id => Ok(()),
                // One that wiped its environment and closed its pipes is known by its cgroup.
                None if tree.is_some() => Ok(()),
                Some(id) => Err(format!("process {number} is of the replica {id}")),
                None => Err(format!("process {number} does not show that it is of the replica")),
            }
        })
    }
}

/// Removes the record of a replica: no process of its attempt is left.
pub fn remove(directory: &Path) {
    // It may be gone with its directory.
    let _ = fs::remove_file(directory.join(FILE));
}

/// The record of a replica whose directory this is; `None` where there is none. What cannot be one is said in a line.
pub fn read(directory: &Path, id: ReplicaId) -> Option<ProcessRecord> {
    let path = directory.join(FILE);
    let record = match fs::read(&path) {
        Ok(text) => serde_json::from_slice::<ProcessRecord>(&text).map_err(|e| format!("it is damaged ({e})")),
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => Err(e.to_string()),
    };
    match record {
        Ok(record) if record.attempt.id == id => Some(record),
        Ok(record) => ignored(&path, &format!("it is of the replica {}", record.attempt.id)),
        Err(why) => ignored(&path, &why),
    }
}

/// Says that a record is ignored.
pub fn ignored<T>(path: &Path, why: &str) -> Option<T> {
    let _ = writeln!(io::stderr(), "warning: the record {} is ignored: {why}", path.display());
    None
}

/// Where the record of a replica is.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Which boot of the host this is.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Writes a file that only this user can read, in place of the one that is there: nobody ever sees half of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes).and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| drop(fs::remove_file(&fresh)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::{Child, Command};

    use super::*;

    const ID: ReplicaId = ReplicaId(77);

    fn sleeping(id: Option<ReplicaId>) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").env_clear();
        if let Some(id) = id {
            command.env("OSTLER_REPLICA_ID", id.to_string());
        }
        command.spawn().unwrap()
    }

    fn record_of(child: &Child) -> ProcessRecord {
        let pid = i32::try_from(child.id()).unwrap();
        ProcessRecord {
            boot: boot().unwrap(),
            attempt: Attempt { id: ID, attempt: 2 },
            pid,
            started: stat(Pid::from_raw(pid).unwrap()).unwrap().started,
            cgroup: None,
            limiters: vec![],
            tree: Kind::Session,
            limits: Enforcement::new(),
            lease: None,
            log: "/nowhere".into(),
            log_spec: LogSpec::default(),
        }
    }

    #[test]
    fn a_process_is_adopted_only_if_everything_about_it_is_as_recorded() {
        let mut children = [sleeping(Some(ID)), sleeping(Some(ReplicaId(78))), sleeping(None)];
        let record = record_of(&children[0]);
        assert_eq!(record.prove().unwrap().unwrap().pid().as_raw_nonzero().get(), record.pid);
        let elsewhere = Cgroup { directory: "/nowhere".into(), hierarchy: String::new(), path: "/nowhere".into() };
        for (forged, why) in [
            (ProcessRecord { boot: "x".into(), ..record.clone() }, "before this host was started"),
            (ProcessRecord { started: record.started + 1, ..record.clone() }, "another time"),
            (ProcessRecord { cgroup: Some(elsewhere), ..record.clone() }, "not in the cgroup"),
            (ProcessRecord { pid: 0, ..record.clone() }, "no process"),
            (ProcessRecord { pid: 1, ..record.clone() }, "no process"),
            (record_of(&children[1]), "of the replica 00000000-0000-0000-0000-00000000004e"),
            (record_of(&children[2]), "does not show"),
        ] {
            let said = forged.prove().unwrap_err();
            assert!(said.contains(why) && !said.contains('\n'), "{said}");
        }
        children.iter_mut().for_each(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        assert!(record.prove().unwrap().is_none(), "it has ended");
    }

    #[test]
    fn a_record_that_is_cut_short_or_of_another_replica_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sleeping(Some(ID));
        let record = record_of(&child);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(read(dir.path(), ID), None);
        record.write(dir.path()).unwrap();
        assert_eq!(read(dir.path(), ID), Some(record));
        assert_eq!(read(dir.path(), ReplicaId(1)), None);
        let text = fs::read(dir.path().join(FILE)).unwrap();
        for len in (0..text.len()).step_by(7) {
            fs::write(dir.path().join(FILE), &text[..len]).unwrap();
            assert_eq!(read(dir.path(), ID), None);
        }
        remove(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left beside it");
    }
}
