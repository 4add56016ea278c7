//! The store in one redb file, `store.redb` in the data directory.
//!
//! An acknowledged write is on the disk. A new file is made beside its place and renamed into it, so that a file which is
//! there is whole; a file of 0 bytes is therefore damaged, not new. Before a file is opened for writing, a copy of it in memory
//! is checked from end to end: a damaged file is left exactly as it was found. A second controller on the same directory is
//! refused by a lock of the directory's own, taken before anything is read.

mod directory;
mod file;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::ClusterId;
use redb::{Database, WriteTransaction};
use tokio::sync::watch;

use self::file::Content;
use super::panics::caught;
use super::{Answer, Change, Desired, Error, Store};

/// What only one call at a time may touch.
struct Writer {
    /// Absent after a write failed: the next one opens the file again.
    database: Option<Database>,
    epoch: u64,
    identity: Option<(u64, u64)>,
    lock: File,
}

struct Shared {
    directory: PathBuf,
    path: PathBuf,
    cluster: ClusterId,
    latest: watch::Sender<Arc<Desired>>,
    writer: Mutex<Writer>,
}

/// The store in a redb file.
pub struct RedbStore {
    shared: Arc<Shared>,
}

impl RedbStore {
    /// Opens the store of a data directory, and makes both where they are not there; `fresh` is the id of a new cluster.
    /// Blocks: call it outside a runtime's own threads.
    ///
    /// # Errors
    /// The directory is in use, or the file damaged, or the operating system refuses. The file is as it was.
    pub fn open(directory: &Path, fresh: impl FnOnce() -> ClusterId) -> Result<Self, Error> {
        directory::make(directory)?;
        let lock = directory::lock(directory)?;
        let path = directory.join(file::FILE_NAME);
        if let Err(error) = fs::symlink_metadata(&path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(Error::Io { doing: "look at the store", path, source: error });
            }
            file::create(directory, &Content { cluster: fresh(), epoch: 0, desired: Arc::default() })?;
        }
        let (database, content) = file::open(&path)?;
        let writer = Writer { database: Some(database), epoch: content.epoch, identity: directory::identity(&path), lock };
        let latest = watch::Sender::new(content.desired);
        let shared = Shared { directory: directory.to_owned(), path, cluster: content.cluster, latest, writer: Mutex::new(writer) };
        Ok(RedbStore { shared: Arc::new(shared) })
    }

    /// Runs a write on a thread that may block. Dropping the returned future does not stop it.
    fn blocking<T: Send + 'static>(&self, act: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static) -> Answer<'_, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let path = shared.path.clone();
            match tokio::task::spawn_blocking(move || act(&shared)).await {
                Ok(outcome) => outcome,
                Err(error) => Err(Error::Write { path, what: error.to_string() }),
            }
        })
    }
}

impl Store for RedbStore {
    fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    fn watch(&self) -> watch::Receiver<Arc<Desired>> {
        self.shared.latest.subscribe()
    }

    fn commit(&self, based_on: u64, change: Change) -> Answer<'_, Arc<Desired>> {
        self.blocking(move |shared| {
            let mut writer = shared.writer();
            shared.prepare(&mut writer)?;
            let before = Arc::clone(&shared.latest.borrow());
            if before.revision != based_on {
                return Err(Error::Conflict { based_on, has: before.revision });
            }
            let after = Arc::new(change.applied_to(&before));
            shared.write(&mut writer, |transaction| file::write_change(transaction, &change, after.revision))?;
            // Still under the writer's lock: revisions are published in their order.
            shared.latest.send_replace(Arc::clone(&after));
            Ok(after)
        })
    }

    fn next_epoch(&self, at_least: u64) -> Answer<'_, u64> {
        self.blocking(move |shared| {
            let mut writer = shared.writer();
            shared.prepare(&mut writer)?;
            let next = writer.epoch.checked_add(1).ok_or(Error::NoEpochLeft(writer.epoch))?.max(at_least);
            shared.write(&mut writer, |transaction| file::write_epoch(transaction, next))?;
            writer.epoch = next;
            Ok(next)
        })
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic in a write leaves no database behind (see `write`), so what the lock guards is whole.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a write will land in the file that the next start of a controller will read.
    fn prepare(&self, writer: &mut Writer) -> Result<(), Error> {
        match fs::metadata(&self.path) {
            Ok(_) if writer.identity != directory::identity(&self.path) => return Err(Error::Replaced(self.path.clone())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody emptied the directory. All that the file held is known here.
                tracing::warn!("the store {} is gone; writing it anew from memory", self.path.display());
                directory::make(&self.directory)?;
                writer.lock = directory::lock(&self.directory)?;
                writer.database = None;
                let desired = Arc::clone(&self.latest.borrow());
                file::create(&self.directory, &Content { cluster: self.cluster, epoch: writer.epoch, desired })?;
                writer.identity = directory::identity(&self.path);
            }
            Err(source) => return Err(Error::Io { doing: "look at the store", path: self.path.clone(), source }),
        }
        if writer.database.is_none() {
            let (database, content) = file::open(&self.path)?;
            writer.database = Some(database);
            writer.epoch = content.epoch;
            self.latest.send_if_modified(|latest| {
                let differs = **latest != *content.desired;
                *latest = Arc::clone(&content.desired);
                differs
            });
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer, fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), Error> {
        // Taken out, and put back only after success: redb latches some failures until the file is opened again.
        let Some(database) = writer.database.take() else {
            return Err(Error::Write { path: self.path.clone(), what: "the file is not open".to_owned() });
        };
        let outcome = caught(|| file::commit(&database, fill));
        let failed = |what: String| Error::Write { path: self.path.clone(), what };
        match outcome {
            Ok(Ok(())) => {
                writer.database = Some(database);
                Ok(())
            }
            Ok(Err(error)) => Err(failed(file::one_line(&error))),
            Err(panic) => Err(failed(panic)),
        }
    }
}
