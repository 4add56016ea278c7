//! Requests that were answered by 502, 503 or 504, and clients that were sent away, told in the log: each with its reason, but no more than
//! people can read.

use std::cell::Cell;
use std::fmt::Display;
use std::net::SocketAddr;

/// So many are told between two sweeps; a sweep comes a few times a second.
const TOLD_MAX: u32 = 5;

/// What one thread tells.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: Cell<u32>,
    untold: Cell<u64>,
}

impl Complaints {
    /// A request was answered by `status` for this reason. `asked`: what it was.
    pub(crate) fn tell(&self, status: u16, app: Option<&str>, asked: impl FnOnce() -> String, detail: &str) {
        if self.told.get() >= TOLD_MAX {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.told.set(self.told.get() + 1);
        match app {
            Some(app) => tracing::warn!("a request to app {app} was answered by {status}: {detail}; it was {}", asked()),
            None => tracing::warn!("a request was answered by {status}: {detail}; it was {}", asked()),
        }
    }

    /// A client's connection of HTTP/2 was ended for what it did.
    pub(crate) fn sent_away(&self, peer: SocketAddr, why: &dyn Display) {
        if self.told.get() >= TOLD_MAX {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.told.set(self.told.get() + 1);
        tracing::warn!("a client at {peer} was sent away: {why}");
    }

    /// A sweep: the next may be told again.
    pub(crate) fn renew(&self) {
        self.told.set(0);
        let untold = self.untold.replace(0);
        if untold > 0 {
            tracing::warn!("{untold} more requests or clients met the like in that moment");
        }
    }
}
