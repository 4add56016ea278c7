//! Notices at once that something changed in a directory.
//!
//! Where the system tells nothing (a network file system, no watches left), the source is looked at as often as any other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A directory that was written to is looked at once it has been still for so long: editors write, rename and remove in one go.
const STILL: Duration = Duration::from_millis(100);
/// And after so long at the latest.
const STILL_MAX: Duration = Duration::from_millis(400);

/// Watches a directory with all that is below it.
pub struct Watch {
    path: PathBuf,
    changed: Arc<Notify>,
    /// What is watched now: the directory may be put in the place of another.
    watched: Option<(RecommendedWatcher, Option<Identity>)>,
    has_told: bool,
}

/// Which directory stands at a path.
type Identity = (u64, u64);

fn identity(path: &PathBuf) -> Option<Identity> {
    let found = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((found.dev(), found.ino()))
    }
    #[cfg(not(unix))]
    {
        let made = found.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((made.as_secs(), u64::from(made.subsec_nanos())))
    }
}

impl Watch {
    /// Watches this directory, once it is there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Watch { path, changed: Arc::new(Notify::new()), watched: None, has_told: false }
    }

    /// Makes sure that the directory is watched which stands at the path now. To be called before each look.
    pub fn renew(&mut self) {
        let now = identity(&self.path);
        if now.is_none() || self.watched.as_ref().is_some_and(|(_, watched)| *watched == now) {
            return;
        }
        let changed = Arc::clone(&self.changed);
        let tell = move |event: notify::Result<notify::Event>| {
            // That it was read is no change; and we read it ourselves.
            let is_read = |kind: EventKind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
            if event.is_ok_and(|event| !is_read(event.kind)) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watched = Some((watcher, now)),
            Err(error) if !self.has_told => {
                self.has_told = true;
                tracing::warn!("{} cannot be watched ({error}): changes in it are seen at the next look only", self.path.display());
            }
            Err(_) => {}
        }
    }

    /// Returns once something has changed and the directory is still again.
    pub async fn changed(&self) {
        self.changed.notified().await;
        let until = Instant::now() + STILL_MAX;
        while Instant::now() < until && tokio::time::timeout(STILL, self.changed.notified()).await.is_ok() {}
    }
}
