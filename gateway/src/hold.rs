//! Requests that wait for a ready replica: bounded in time, and in number over all threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::core::Core;

/// One waiting request.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Arc<AtomicUsize>,
    until: Instant,
}

impl Hold {
    /// Begins to wait; `None`: too many wait already.
    pub(crate) fn enter(core: &Core) -> Option<Self> {
        let max = core.limits.hold_max;
        let entered = core.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held < max).then_some(held + 1));
        let until = Instant::now() + Duration::from_millis(core.limits.hold_ms);
        entered.ok().map(|_| Hold { held: Arc::clone(&core.held), until })
    }

    /// Waits for the next table; `false`: the time is over.
    pub(crate) async fn next_table(&self, core: &Core) -> bool {
        timeout_at(self.until, core.table_changed.notified()).await.is_ok()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}
