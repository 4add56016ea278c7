//! The store in one redb file, `store.redb` in the data directory.
//!
//! An acknowledged write is on the disk. A new file is made beside its place and renamed into it, so that a file which is
//! there is whole; a file of 0 bytes is therefore damaged, not new. Before a file is opened for writing, a copy of it in memory
//! is checked from end to end: a damaged file is left exactly as it was found. A second controller on the same directory is
//! refused by a lock of the directory's own, taken before anything is read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::event::Member;
use cluster::{App, ClusterId, NodeId};
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use super::panics::caught;
use super::{Answer, Change, Desired, Error, Store};

/// The format of what is written here.
const FORMAT: u64 = 1;
const FILE_NAME: &str = "store.redb";
const NEW_FILE_NAME: &str = "store.redb.new";
const LOCK_NAME: &str = "lock";
const CACHE_BYTES: usize = 1024 * 1024;

const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const TEXTS: TableDefinition<&str, &str> = TableDefinition::new("texts");
const APPS: TableDefinition<&str, &[u8]> = TableDefinition::new("apps");
const MEMBERS: TableDefinition<&str, &[u8]> = TableDefinition::new("members");

/// Everything that a file holds.
#[derive(Clone, Debug)]
struct Content {
    cluster: ClusterId,
    epoch: u64,
    desired: Arc<Desired>,
}

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
        make_directory(directory)?;
        let lock = take_lock(directory)?;
        let path = directory.join(FILE_NAME);
        if let Err(error) = fs::symlink_metadata(&path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(Error::Io { doing: "look at the store", path, source: error });
            }
            create(directory, &Content { cluster: fresh(), epoch: 0, desired: Arc::default() })?;
        }
        let (database, content) = open_file(&path)?;
        let writer = Writer { database: Some(database), epoch: content.epoch, identity: identity(&path), lock };
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
            shared.write(&mut writer, |transaction| write_change(transaction, &change, after.revision))?;
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
            shared.write(&mut writer, |transaction| {
                transaction.open_table(NUMBERS)?.insert("epoch", next)?;
                Ok(())
            })?;
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
            Ok(_) if writer.identity != identity(&self.path) => return Err(Error::Replaced(self.path.clone())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody emptied the directory. All that the file held is known here.
                tracing::warn!("the store {} is gone; writing it anew from memory", self.path.display());
                make_directory(&self.directory)?;
                writer.lock = take_lock(&self.directory)?;
                writer.database = None;
                let desired = Arc::clone(&self.latest.borrow());
                create(&self.directory, &Content { cluster: self.cluster, epoch: writer.epoch, desired })?;
                writer.identity = identity(&self.path);
            }
            Err(source) => return Err(Error::Io { doing: "look at the store", path: self.path.clone(), source }),
        }
        if writer.database.is_none() {
            let (database, content) = open_file(&self.path)?;
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
        let outcome = caught(|| commit(&database, fill));
        let failed = |what: String| Error::Write { path: self.path.clone(), what };
        match outcome {
            Ok(Ok(())) => {
                writer.database = Some(database);
                Ok(())
            }
            Ok(Err(error)) => Err(failed(one_line(&error))),
            Err(panic) => Err(failed(panic)),
        }
    }
}

fn commit(database: &Database, fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
    // redb's default durability is Immediate: `commit` returns when the data is synced.
    let transaction = database.begin_write()?;
    fill(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| redb::Error::Io(io::Error::other(error)))
}

fn write_change(transaction: &WriteTransaction, change: &Change, revision: u64) -> Result<(), redb::Error> {
    transaction.open_table(NUMBERS)?.insert("revision", revision)?;
    let mut apps = transaction.open_table(APPS)?;
    for app in &change.put_apps {
        apps.insert(app.name.as_str(), json(app)?.as_slice())?;
    }
    let mut members = transaction.open_table(MEMBERS)?;
    for member in &change.put_members {
        members.insert(member.id.to_string().as_str(), json(member)?.as_slice())?;
    }
    for id in &change.delete_members {
        members.remove(id.to_string().as_str())?;
    }
    Ok(())
}

fn write_all(transaction: &WriteTransaction, content: &Content) -> Result<(), redb::Error> {
    transaction.open_table(TEXTS)?.insert("cluster", content.cluster.to_string().as_str())?;
    {
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert("format", FORMAT)?;
        numbers.insert("epoch", content.epoch)?;
    }
    let change = Change {
        put_apps: content.desired.apps.values().cloned().collect(),
        put_members: content.desired.members.values().cloned().collect(),
        delete_members: vec![],
    };
    write_change(transaction, &change, content.desired.revision)
}

/// Why the content of a file could not be read.
enum Unread {
    Damaged(String),
    Newer(u64),
}

impl<E: Into<redb::Error>> From<E> for Unread {
    fn from(error: E) -> Self {
        Unread::Damaged(one_line(&error.into()))
    }
}

fn read(database: &Database) -> Result<Content, Unread> {
    let missing = |what: &str| Unread::Damaged(format!("it holds no {what}"));
    let garbled = |what: &str, error: &dyn std::fmt::Display| Unread::Damaged(format!("the {what} in it cannot be read: {error}"));
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name: &str| -> Result<u64, Unread> { Ok(numbers.get(name)?.ok_or_else(|| missing(name))?.value()) };
    let format = number("format")?;
    if format > FORMAT {
        return Err(Unread::Newer(format));
    }
    let cluster = transaction.open_table(TEXTS)?.get("cluster")?.ok_or_else(|| missing("cluster id"))?.value().to_owned();
    let cluster = cluster.parse().map_err(|error| garbled("cluster id", &error))?;
    let mut desired = Desired { revision: number("revision")?, ..Desired::default() };
    for entry in transaction.open_table(APPS)?.iter()? {
        let (name, bytes) = entry?;
        let app: App = serde_json::from_slice(bytes.value()).map_err(|error| garbled(&format!("app {}", name.value()), &error))?;
        desired.apps.insert(app.name.clone(), app);
    }
    for entry in transaction.open_table(MEMBERS)?.iter()? {
        let (id, bytes) = entry?;
        let member: Member = serde_json::from_slice(bytes.value()).map_err(|error| garbled(&format!("member {}", id.value()), &error))?;
        desired.members.insert(NodeId(member.id.0), member);
    }
    Ok(Content { cluster, epoch: number("epoch")?, desired: Arc::new(desired) })
}

/// Checks a copy of the file, then opens the file itself.
fn open_file(path: &Path) -> Result<(Database, Content), Error> {
    let damaged = |what: String| Error::Damaged { path: path.to_owned(), what };
    let bytes = fs::read(path).map_err(|source| Error::Io { doing: "read the store", path: path.to_owned(), source })?;
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let outcome = caught(|| -> Result<(Database, Content), Unread> {
        let copy = InMemoryBackend::new();
        copy.set_len(bytes.len() as u64).map_err(redb::Error::from)?;
        copy.write(0, &bytes).map_err(redb::Error::from)?;
        drop(bytes);
        let checked = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(copy)?;
        let content = read(&checked)?;
        drop(checked);
        let database = Builder::new().set_cache_size(CACHE_BYTES).open(path)?;
        Ok((database, content))
    });
    match outcome {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(Unread::Newer(found))) => Err(Error::Newer { path: path.to_owned(), found, known: FORMAT }),
        Ok(Err(Unread::Damaged(what))) | Err(what) => Err(damaged(what)),
    }
}

/// Makes a new file beside its place, whole and synced, and renames it into its place.
fn create(directory: &Path, content: &Content) -> Result<(), Error> {
    let beside = directory.join(NEW_FILE_NAME);
    let io = |doing| {
        let path = beside.clone();
        move |source| Error::Io { doing, path, source }
    };
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove the unfinished")(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&beside).map_err(io("create"))?;
    let outcome = caught(|| -> Result<(), redb::Error> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(&beside)?;
        commit(&database, |transaction| write_all(transaction, content))
    });
    let written = match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(panic) => Err(panic),
    };
    written.map_err(|what| Error::Write { path: beside.clone(), what })?;
    fs::rename(&beside, directory.join(FILE_NAME)).map_err(io("rename"))?;
    sync_directory(directory).map_err(io("sync the directory of"))
}

fn make_directory(directory: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|source| Error::Io { doing: "create the data directory", path: directory.to_owned(), source })
}

fn take_lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK_NAME);
    let io = |doing| {
        let path = path.clone();
        move |source| Error::Io { doing, path, source }
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io("open the lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse(directory.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(io("lock")(source)),
    }
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Device and inode: tells the file that was opened from another in its place.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<(u64, u64)> {
    None
}

fn one_line(error: &redb::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cluster::AppName;

    use super::*;

    fn open(directory: &Path) -> Result<RedbStore, Error> {
        RedbStore::open(directory, || ClusterId(7))
    }

    async fn filled(directory: &Path) -> Arc<Desired> {
        let store = open(directory).unwrap();
        store.next_epoch(41).await.unwrap();
        let member = Member { id: NodeId(5), url: "http://localhost:9091".parse().unwrap(), take_over: false, removed: false };
        let change = Change { put_apps: vec![App::builtin()], put_members: vec![member], delete_members: vec![] };
        store.commit(0, change).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_the_next_open() {
        let directory = tempfile::tempdir().unwrap();
        let before = filled(directory.path()).await;
        let store = RedbStore::open(directory.path(), || unreachable!("the cluster has an id")).unwrap();
        assert_eq!(store.cluster(), ClusterId(7));
        assert_eq!(*store.watch().borrow(), before);
        assert_eq!(store.next_epoch(0).await.unwrap(), 42);
    }

    #[tokio::test]
    async fn a_directory_in_use_is_refused_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let _first = open(directory.path()).unwrap();
        let message = open(directory.path()).err().unwrap().to_string();
        assert!(message.contains(&directory.path().display().to_string()) && message.contains("in use"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_in_one_line_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        let path = directory.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        let mut damages: Vec<(String, Vec<u8>)> = vec![
            ("empty".to_owned(), vec![]),
            ("text".to_owned(), b"not a database".to_vec()),
            ("zeros".to_owned(), vec![0; whole.len()]),
            ("half".to_owned(), whole[..whole.len() / 2].to_vec()),
            ("only its head".to_owned(), whole[..512].to_vec()),
        ];
        for at in (0..whole.len()).step_by(whole.len() / 64) {
            let mut noise = whole.clone();
            for byte in noise.iter_mut().skip(at).take(2048) {
                *byte = byte.wrapping_mul(31).wrapping_add(0x5b);
            }
            damages.push((format!("noise at {at}"), noise));
        }
        let mut refused = 0;
        for (name, bytes) in damages {
            fs::write(&path, &bytes).unwrap();
            // Noise in a page that holds nothing does no harm: then the content must be what it was.
            match open(directory.path()) {
                Ok(store) => {
                    assert!(name.starts_with("noise"), "{name} was accepted");
                    assert_eq!(store.cluster(), ClusterId(7), "{name}");
                    assert_eq!(store.watch().borrow().members.len(), 1, "{name}");
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(&path.display().to_string()), "{name}: {message}");
                    assert_eq!(message.lines().count(), 1, "{name}: {message}");
                    assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 6, "only {refused} damages were noticed");
    }

    #[tokio::test]
    async fn an_unfinished_new_file_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NEW_FILE_NAME), b"half").unwrap();
        assert_eq!(open(directory.path()).unwrap().cluster(), ClusterId(7));
        assert!(!directory.path().join(NEW_FILE_NAME).exists());
    }

    #[tokio::test]
    async fn a_directory_that_was_emptied_is_filled_again_by_the_next_write() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data");
        filled(&directory).await;
        let store = open(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let revision = store.watch().borrow().revision;
        let app = App { desired: 4, ..App::builtin() };
        store.commit(revision, Change { put_apps: vec![app], ..Change::default() }).await.unwrap();
        drop(store);
        let again = RedbStore::open(&directory, || unreachable!("the cluster has an id")).unwrap();
        let desired = Arc::clone(&again.watch().borrow());
        assert_eq!((desired.apps[&AppName::builtin()].desired, desired.members.len()), (4, 1));
        assert!(again.next_epoch(0).await.unwrap() > 41);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_store_that_was_replaced_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        let path = directory.path().join(FILE_NAME);
        let store = open(directory.path()).unwrap();
        let copy = directory.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        let revision = store.watch().borrow().revision;
        let change = Change { put_apps: vec![App::builtin()], ..Change::default() };
        assert!(matches!(store.commit(revision, change).await, Err(Error::Replaced(_))));
    }
}
