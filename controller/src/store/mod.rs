//! The store: what is wanted, on the disk, and nothing of what is seen.
//!
//! It holds the cluster's id (its first write), the epoch, the apps and the members. Every change is a compare-and-swap by
//! revision, is durable when it is acknowledged, and is seen by everybody who watches. Absent from here: what runs. That is
//! asked of the agents, never remembered for them.

#[cfg(test)]
mod contract;
#[cfg(test)]
pub mod memory;
mod panics;
pub mod redb;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use cluster::Member;
use cluster::{App, AppName, ClusterId, NodeId};
use tokio::sync::watch;

/// How often a change is tried again when somebody else changed the store at the same time.
const CONFLICTS_MAX: u32 = 100;

/// Everything that is wanted, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Grows by one with each change.
    pub revision: u64,
    /// The apps.
    pub apps: BTreeMap<AppName, App>,
    /// The members, tombstones too.
    pub members: BTreeMap<NodeId, Member>,
}

/// One change of what is wanted; all of it happens, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Apps to add, or to put in place of those with the same name.
    pub put_apps: Vec<App>,
    /// Apps to delete; one that is not there is no error.
    pub delete_apps: Vec<AppName>,
    /// Members to add, or to put in place of those with the same id.
    pub put_members: Vec<Member>,
    /// Members to delete; one that is not there is no error.
    pub delete_members: Vec<NodeId>,
}

impl Change {
    /// Nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put_apps.is_empty() && self.delete_apps.is_empty() && self.put_members.is_empty() && self.delete_members.is_empty()
    }

    /// What is wanted after this change of `before`.
    #[must_use]
    pub fn applied_to(&self, before: &Desired) -> Desired {
        let mut after = before.clone();
        after.revision += 1;
        after.apps.extend(self.put_apps.iter().map(|app| (app.name.clone(), app.clone())));
        for name in &self.delete_apps {
            after.apps.remove(name);
        }
        after.members.extend(self.put_members.iter().map(|member| (member.id, member.clone())));
        for id in &self.delete_members {
            after.members.remove(id);
        }
        after
    }
}

/// Why the store could not do what was asked. Nothing was changed, unless the message says that this is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller has it open.
    #[error("the data directory {} is in use by another controller; stop that one, or choose another with --data-dir", .0.display())]
    InUse(PathBuf),
    /// What is in the file is not what was written.
    #[error("the store {} is damaged ({what}); nothing was changed in it: restore it from a copy, or move it away to begin a new cluster", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A later Ostler wrote it.
    #[error("the store {} has the format {found}, and this version reads up to {known}; start the version that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The latest format that is known here.
        known: u64,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A write failed.
    #[error("cannot write to the store {}: {what}; whether the change was kept is not known: look at /status and try again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        what: String,
    },
    /// Another file stands in the place of the one that was opened.
    #[error("the store {} was replaced while this controller had it open; restart the controller", .0.display())]
    Replaced(PathBuf),
    /// The change was made from an older revision than the store has: read again and decide again.
    #[error("the store has revision {has}, and the change was made from revision {based_on}; read again")]
    Conflict {
        /// What the change was made from.
        based_on: u64,
        /// What the store has.
        has: u64,
    },
    /// No greater epoch is left.
    #[error("no epoch after {0} is left; move the data directory away to begin a new cluster")]
    NoEpochLeft(u64),
}

/// What a call to the store returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The port behind which the store stands. One suite of tests (`contract`) says what an adapter must do.
pub trait Store: Send + Sync + 'static {
    /// The cluster whose store this is.
    fn cluster(&self) -> ClusterId;

    /// What is wanted now and after each later change. A change is seen here before its `commit` returns.
    fn watch(&self) -> watch::Receiver<Arc<Desired>>;

    /// Makes a change durable, if the store still has the revision `based_on`; returns what is wanted then. A call that is
    /// dropped half-way still ends one way or the other.
    fn commit(&self, based_on: u64, change: Change) -> Answer<'_, Arc<Desired>>;

    /// Raises the epoch, durably, to the next one or to `at_least`, whichever is greater, and returns it.
    fn next_epoch(&self, at_least: u64) -> Answer<'_, u64>;
}

/// Changes the store: `decide` gets what is wanted now and returns the change and what to tell the caller; it is asked again
/// when somebody else changed the store in between. An empty change is not written.
///
/// # Errors
/// What `decide` or the store says.
pub async fn update<T, E: From<Error>>(store: &dyn Store, mut decide: impl FnMut(&Desired) -> Result<(Change, T), E>) -> Result<T, E> {
    let mut conflicts = 0;
    loop {
        let before = Arc::clone(&store.watch().borrow());
        let (change, answer) = decide(&before)?;
        if change.is_empty() {
            return Ok(answer);
        }
        match store.commit(before.revision, change).await {
            Ok(_) => return Ok(answer),
            Err(Error::Conflict { .. }) if conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
