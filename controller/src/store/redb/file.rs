//! The file: its tables, and how it is made, checked and opened.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use cluster::Member;
use cluster::{App, ClusterId};
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};

use super::super::panics::caught;
use super::super::{Change, Desired, Error};
use super::directory;

/// Its name in the data directory.
pub const FILE_NAME: &str = "store.redb";
/// Its name while it is being made.
pub const NEW_FILE_NAME: &str = "store.redb.new";
/// The format of what is written here.
const FORMAT: u64 = 1;
const CACHE_BYTES: usize = 1024 * 1024;

const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const TEXTS: TableDefinition<&str, &str> = TableDefinition::new("texts");
const APPS: TableDefinition<&str, &[u8]> = TableDefinition::new("apps");
const MEMBERS: TableDefinition<&str, &[u8]> = TableDefinition::new("members");

/// Everything that a file holds.
#[derive(Clone, Debug)]
pub struct Content {
    /// Whose store it is.
    pub cluster: ClusterId,
    /// The epoch that was given last.
    pub epoch: u64,
    /// What is wanted.
    pub desired: Arc<Desired>,
}

/// Runs one durable transaction.
pub fn commit(database: &Database, fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
    // redb's default durability is Immediate: `commit` returns when the data is synced.
    let transaction = database.begin_write()?;
    fill(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| redb::Error::Io(io::Error::other(error)))
}

/// Writes a change and the revision that it makes.
pub fn write_change(transaction: &WriteTransaction, change: &Change, revision: u64) -> Result<(), redb::Error> {
    transaction.open_table(NUMBERS)?.insert("revision", revision)?;
    let mut apps = transaction.open_table(APPS)?;
    for app in &change.put_apps {
        apps.insert(app.name.as_str(), json(app)?.as_slice())?;
    }
    for name in &change.delete_apps {
        apps.remove(name.as_str())?;
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
        ..Change::default()
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
        desired.members.insert(member.id, member);
    }
    Ok(Content { cluster, epoch: number("epoch")?, desired: Arc::new(desired) })
}

/// Checks a copy of the file, then opens the file itself.
pub fn open(path: &Path) -> Result<(Database, Content), Error> {
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
pub fn create(within: &Path, content: &Content) -> Result<(), Error> {
    let beside = within.join(NEW_FILE_NAME);
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
    fs::rename(&beside, within.join(FILE_NAME)).map_err(io("rename"))?;
    directory::sync(within).map_err(io("sync the directory of"))
}

/// Raises the epoch.
pub fn write_epoch(transaction: &WriteTransaction, epoch: u64) -> Result<(), redb::Error> {
    transaction.open_table(NUMBERS)?.insert("epoch", epoch)?;
    Ok(())
}

/// What redb says, without its further lines.
pub fn one_line(error: &redb::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
