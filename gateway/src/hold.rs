//! How long a request looks for a replica, and how many requests wait for one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::core::Core;

/// The time that a request has to find a replica that takes it: it begins with the first one that does not, or with none at all.
#[derive(Debug)]
pub(crate) struct Patience {
    hold: Duration,
    since: Option<Instant>,
    /// Of the waits that are to be short.
    short_until: Option<Instant>,
}

/// Why a request does not wait for the next table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// Too many wait already.
    Crowded,
    /// Its time is over.
    Late,
}

impl Patience {
    /// That of a request whose app is not known yet.
    pub(crate) fn new(core: &Core) -> Self {
        Patience { hold: Duration::from_millis(core.limits.hold_ms), since: None, short_until: None }
    }

    /// Its app gives it so long in all, in milliseconds.
    pub(crate) fn is_given(&mut self, hold_ms: u64) {
        self.hold = Duration::from_millis(hold_ms);
    }

    /// Something has failed; `true`: its time is over.
    pub(crate) fn is_over(&mut self) -> bool {
        Instant::now() >= self.until()
    }

    /// Nothing has failed yet.
    pub(crate) fn is_whole(&self) -> bool {
        self.since.is_none()
    }

    fn until(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        since.checked_add(self.hold).unwrap_or(since)
    }

    /// Waits for the next table. The wait begins at once: no table between this call and its first poll is missed.
    pub(crate) async fn next_table(&mut self, core: &Core) -> Result<(), Spent> {
        self.next_table_with(core, None, || ()).await
    }

    /// The same, for no longer than `within`, counted from the first time that it is said; `begun` is called if there is a place to wait.
    pub(crate) async fn next_table_with(&mut self, core: &Core, within: Option<Duration>, begun: impl FnOnce()) -> Result<(), Spent> {
        let whole = self.until();
        let until = within.map_or(whole, |within| whole.min(*self.short_until.get_or_insert_with(|| Instant::now() + within)));
        let _place = Place::take(core).ok_or(Spent::Crowded)?;
        begun();
        timeout_at(until, core.table_changed.notified()).await.map_err(|_| Spent::Late)
    }
}

/// One of the places for waiting requests, over all threads.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(core: &Core) -> Option<Self> {
        let max = core.limits.hold_max;
        let taken = core.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held < max).then_some(held + 1));
        taken.ok().map(|_| Place(Arc::clone(&core.held)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
