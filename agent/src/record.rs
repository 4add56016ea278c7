//! What an agent that keeps its replicas writes down for the next one on its runtime directory: of each replica, and whom it obeys.
//!
//! The directory lies in memory and goes with the host's boot. Nothing is read that is cut short or of another boot. What is here says what
//! is wanted; which processes there are is for the guardian to say.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cluster::ReplicaId;
use cluster::app::{AppName, AppSpec};
use cluster::fence::Held;
use cluster::supervise::Kept;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::guardian::protocol::Spawn;
use crate::os;

/// The name of a replica's record in its directory.
const REPLICA: &str = "record.json";
/// The name of the other one in the runtime directory.
const OBEYED: &str = "obeyed.json";

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The boot of the host that the rest is of.
    pub boot: String,
    /// Which replica.
    pub id: ReplicaId,
    /// Its app.
    pub app: AppName,
    /// Of which revision.
    pub revision: u64,
    /// How it is run.
    pub spec: AppSpec,
    /// Where it is in its life.
    pub kept: Kept,
    /// The port of its present attempt.
    pub port: Option<u16>,
    /// The socket that is handed over to its attempts.
    #[serde(default)]
    pub socket: Option<ReplicaId>,
    /// By what its present attempt is known that speaks up.
    pub token: Option<String>,
    /// How its present attempt was started, where a check is started the same way.
    pub spawn: Option<Box<Spawn>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Obeyed {
    boot: String,
    held: Held,
}

/// Why something cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("the record {path} cannot be written: {source}")]
pub struct Unwritten {
    path: PathBuf,
    source: io::Error,
}

impl Record {
    /// Writes it into the directory of its replica, which is made if it is not there.
    pub fn write(&self, directory: &Path) -> Result<(), Unwritten> {
        let path = directory.join(REPLICA);
        os::private_directory(directory).and_then(|_| write(&path, self)).map_err(|source| Unwritten { path, source })
    }

    /// That of the replica whose directory this is; `None` if there is none that counts.
    pub fn read(directory: &Path, id: ReplicaId) -> Option<Self> {
        let path = directory.join(REPLICA);
        read(&path, |record: &Record| (record.boot.clone(), record.id == id))
    }
}

/// Writes down whom an agent obeys.
pub fn write_obeyed(runtime: &Path, held: Held) -> Result<(), Unwritten> {
    let path = runtime.join(OBEYED);
    let written = os::boot().and_then(|boot| write(&path, &Obeyed { boot, held }));
    written.map_err(|source| Unwritten { path, source })
}

/// Whom the agent before this one obeyed.
pub fn read_obeyed(runtime: &Path) -> Held {
    read(&runtime.join(OBEYED), |obeyed: &Obeyed| (obeyed.boot.clone(), true)).map(|obeyed| obeyed.held).unwrap_or_default()
}

/// Removes what [`write_obeyed`] wrote.
pub fn remove_obeyed(runtime: &Path) {
    let _ = fs::remove_file(runtime.join(OBEYED));
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    os::write_private(path, &serde_json::to_vec(value)?)
}

/// `of` tells the boot that a record is of, and whether it is in its place.
fn read<T: DeserializeOwned>(path: &Path, of: impl Fn(&T) -> (String, bool)) -> Option<T> {
    let why = match fs::read(path).map(|text| serde_json::from_slice::<T>(&text)) {
        Ok(Ok(value)) => match of(&value) {
            (_, false) => "it is of another replica".to_owned(),
            (boot, true) if os::boot().is_ok_and(|this| this == boot) => return Some(value),
            _ => "it stems from before this host was started".to_owned(),
        },
        Ok(Err(e)) => format!("it is damaged ({e})"),
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => e.to_string(),
    };
    tracing::warn!("the record {} is ignored: {why}", path.display());
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cluster::supervise::Stage;
    use cluster::wire::{AssignedPhase, Stamp};

    use super::*;

    fn record() -> Record {
        let kept =
            Kept { wanted: AssignedPhase::Run, attempt: 2, failures: 1, reserve_port: true, last_ending: None, stage: Stage::Backoff(200) };
        Record {
            boot: os::boot().unwrap(),
            id: ReplicaId(5),
            app: AppName::builtin(),
            revision: 3,
            spec: AppSpec::new(vec!["x".into()]),
            kept,
            port: Some(4000),
            socket: None,
            token: None,
            spawn: None,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_not_when_it_is_cut_or_of_another_boot_or_replica() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("a");
        assert_eq!(Record::read(&directory, ReplicaId(5)), None);
        record().write(&directory).unwrap();
        assert_eq!(Record::read(&directory, ReplicaId(5)), Some(record()));
        assert_eq!(Record::read(&directory, ReplicaId(6)), None);
        let path = directory.join(REPLICA);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read(&path).unwrap();
        for len in (0..text.len()).step_by(11) {
            fs::write(&path, &text[..len]).unwrap();
            assert_eq!(Record::read(&directory, ReplicaId(5)), None);
        }
        Record { boot: "another".into(), ..record() }.write(&directory).unwrap();
        assert_eq!(Record::read(&directory, ReplicaId(5)), None);
    }

    #[test]
    fn who_is_obeyed_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_obeyed(dir.path()), Held::default());
        let held = Held { cluster: Some(cluster::ClusterId(4)), stamp: Some(Stamp { epoch: 2, generation: 9 }) };
        write_obeyed(dir.path(), held).unwrap();
        assert_eq!(read_obeyed(dir.path()), held);
        remove_obeyed(dir.path());
        assert_eq!(read_obeyed(dir.path()), Held::default());
    }

    #[test]
    fn what_cannot_be_written_is_said_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let said = record().write(&dir.path().join("a")).unwrap_err().to_string();
        assert!(said.contains("a/record.json") && !said.contains('\n'), "{said}");
    }
}
