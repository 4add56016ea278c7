//! Requests that were answered by 502, 503 or 504, told in the log: each with its reason, but no more than people can read.

use std::cell::Cell;

/// So many are told between two sweeps; a sweep comes a few times a second.
const TOLD_MAX: u32 = 5;

/// What one thread tells.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: Cell<u32>,
    untold: Cell<u64>,
}

impl Complaints {
    /// A request was answered by `status` for this reason.
    pub(crate) fn tell(&self, status: u16, app: Option<&str>, detail: &str) {
        if self.told.get() >= TOLD_MAX {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.told.set(self.told.get() + 1);
        match app {
            Some(app) => tracing::warn!("a request to app {app} was answered by {status}: {detail}"),
            None => tracing::warn!("a request was answered by {status}: {detail}"),
        }
    }

    /// A sweep: the next may be told again.
    pub(crate) fn renew(&self) {
        self.told.set(0);
        let untold = self.untold.replace(0);
        if untold > 0 {
            tracing::warn!("{untold} more requests were answered by 502, 503 or 504 in that moment");
        }
    }
}
