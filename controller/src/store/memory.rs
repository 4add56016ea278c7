//! A store that forgets when it is dropped: for tests.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use cluster::ClusterId;
use tokio::sync::watch;

use super::{Answer, Change, Desired, Error, Store};

/// The store.
pub struct MemoryStore {
    cluster: ClusterId,
    epoch: Mutex<u64>,
    latest: watch::Sender<Arc<Desired>>,
}

impl MemoryStore {
    /// A new store for this cluster.
    pub fn new(cluster: ClusterId) -> Self {
        MemoryStore { cluster, epoch: Mutex::new(0), latest: watch::Sender::new(Arc::default()) }
    }
}

impl Store for MemoryStore {
    fn cluster(&self) -> ClusterId {
        self.cluster
    }

    fn watch(&self) -> watch::Receiver<Arc<Desired>> {
        self.latest.subscribe()
    }

    fn commit(&self, based_on: u64, change: Change) -> Answer<'_, Arc<Desired>> {
        let mut outcome = Err(Error::NoEpochLeft(0));
        self.latest.send_if_modified(|latest| {
            let fits = latest.revision == based_on;
            if fits {
                *latest = Arc::new(change.applied_to(latest));
                outcome = Ok(Arc::clone(latest));
            } else {
                outcome = Err(Error::Conflict { based_on, has: latest.revision });
            }
            fits
        });
        Box::pin(std::future::ready(outcome))
    }

    fn next_epoch(&self, at_least: u64) -> Answer<'_, u64> {
        let mut epoch = self.epoch.lock().unwrap();
        let outcome = match epoch.checked_add(1) {
            Some(next) => {
                *epoch = next.max(at_least);
                Ok(*epoch)
            }
            None => Err(Error::NoEpochLeft(*epoch)),
        };
        Box::pin(std::future::ready(outcome))
    }
}
