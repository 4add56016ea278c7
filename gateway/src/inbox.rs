//! What a gateway thread is told from outside: the latest table, lost routes, the order to stop.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::route::{RouteKey, RoutingTable};
use cluster::router::Router;
use tokio::sync::Notify;

use crate::ledger::AppLedger;
use crate::thread::Leaf;

/// A table on its way to the threads, with its rules, and the ledger of each app: one for all threads, and the same from table to table.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) router: Arc<Router>,
    /// In the order of the apps.
    pub(crate) ledgers: Vec<Arc<AppLedger>>,
}

/// What has come since the thread last looked. A later table replaces an earlier one; lost routes are a set; doors are few, since each has
/// a port: so it is bounded.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Doors that were opened beside those of the start.
    pub(crate) doors: Vec<Leaf>,
    pub(crate) table: Option<Arc<Published>>,
    pub(crate) abandoned: BTreeSet<RouteKey>,
    /// Stop, and finish what is under way within this time.
    pub(crate) stop: Option<Duration>,
}

/// The inbox of one thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    news: Mutex<News>,
    arrived: Notify,
}

impl Inbox {
    fn put(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    pub(crate) fn open(&self, door: Leaf) {
        self.put(|news| news.doors.push(door));
    }

    pub(crate) fn publish(&self, published: Arc<Published>) {
        self.put(|news| news.table = Some(published));
    }

    pub(crate) fn abandon(&self, keys: &[RouteKey]) {
        self.put(|news| news.abandoned.extend(keys));
    }

    pub(crate) fn stop(&self, within: Duration) {
        self.put(|news| news.stop = Some(within));
    }

    /// Waits until something has come, and takes it.
    pub(crate) async fn next(&self) -> News {
        self.arrived.notified().await;
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
