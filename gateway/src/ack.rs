//! What the threads have acknowledged: the base of an ordered stop.
//!
//! A thread that has acknowledged a version starts no request by an older one: it swaps its table first, and picks a replica and
//! counts the request in one step, with nothing awaited between. So once all threads have acknowledged a version and nothing is in
//! flight on what it left out, nothing ever will be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::route::{RouteAck, RouteKey};
use tokio::sync::Notify;

/// What one thread has acknowledged. Locked only when a table arrives or a request ends on a route that left the table; a request
/// on a route that is in the table never comes here.
#[derive(Debug)]
pub(crate) struct ThreadAck {
    state: Mutex<RouteAck>,
    changed: Arc<Notify>,
}

impl ThreadAck {
    /// Nothing acknowledged yet. `changed` is notified with every change.
    pub(crate) fn new(changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(ThreadAck { state: Mutex::new(RouteAck::default()), changed })
    }

    fn lock(&self) -> MutexGuard<'_, RouteAck> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread works by `version`; `in_flight` is what still runs on routes that it left out.
    pub(crate) fn acknowledge(&self, version: u64, in_flight: BTreeMap<RouteKey, u64>) {
        *self.lock() = RouteAck { version, in_flight };
        self.changed.notify_one();
    }

    /// A request ended on a route that is not in the table; `left` more are under way on it.
    pub(crate) fn fell(&self, key: RouteKey, left: u64) {
        {
            let mut state = self.lock();
            if left == 0 {
                state.in_flight.remove(&key);
            } else {
                state.in_flight.insert(key, left);
            }
        }
        self.changed.notify_one();
    }

    fn get(&self) -> RouteAck {
        self.lock().clone()
    }
}

/// The acknowledgement of all threads together: the oldest version, and everything in flight on routes that were left out.
pub(crate) fn merge<'a>(threads: impl Iterator<Item = &'a ThreadAck>) -> RouteAck {
    let mut merged: Option<RouteAck> = None;
    for ack in threads.map(ThreadAck::get) {
        match &mut merged {
            None => merged = Some(ack),
            Some(merged) => {
                merged.version = merged.version.min(ack.version);
                for (key, count) in ack.in_flight {
                    *merged.in_flight.entry(key).or_default() += count;
                }
            }
        }
    }
    merged.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use cluster::id::ReplicaId;

    use super::*;

    #[test]
    fn the_oldest_version_counts_and_what_is_in_flight_adds_up() {
        let key = |n| RouteKey { replica: ReplicaId(n), attempt: 1 };
        let changed = Arc::new(Notify::new());
        let threads = [ThreadAck::new(Arc::clone(&changed)), ThreadAck::new(changed)];
        threads[0].acknowledge(7, BTreeMap::from([(key(1), 2)]));
        threads[1].acknowledge(6, BTreeMap::from([(key(1), 1), (key(2), 4)]));
        let merged = || merge(threads.iter().map(Arc::as_ref));
        assert_eq!(merged(), RouteAck { version: 6, in_flight: BTreeMap::from([(key(1), 3), (key(2), 4)]) });
        threads[1].acknowledge(7, BTreeMap::from([(key(1), 1)]));
        threads[1].fell(key(1), 0);
        threads[0].fell(key(1), 1);
        assert_eq!(merged(), RouteAck { version: 7, in_flight: BTreeMap::from([(key(1), 1)]) });
    }
}
