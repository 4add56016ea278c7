//! What the owner has to do with the logs of replicas: what is said of them, and how long they stay.

use cluster::ReplicaId;
use tokio_util::sync::CancellationToken;

use super::{CLEAN_EVERY_MS, Owner};
use crate::guardian::protocol::LogNews;
use crate::logs::Source;

/// Old output is removed so soon after a replica is gone: many often go together.
const CLEAN_SOON_MS: u64 = 1_000;

impl Owner {
    /// The guardian says something of a log.
    pub(super) fn log_news(&mut self, id: ReplicaId, news: LogNews) {
        self.figures.log_dropped_bytes_total += news.dropped_bytes;
        if let Some(note) = &news.note {
            tracing::warn!(replica = %id, "{note}");
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let app = &slot.app;
        match (&slot.log.trouble, &news.trouble) {
            (None, Some(why)) => tracing::warn!(replica = %id, %app, "its output is not kept: {why}"),
            (Some(_), None) => tracing::info!(replica = %id, %app, "its output is kept again"),
            _ => {}
        }
        slot.log.dropped_bytes += news.dropped_bytes;
        slot.log.trouble = news.trouble;
        self.dirty.insert(id);
    }

    /// Where the output of a replica can be read, also of one that is gone.
    pub(super) fn log_of(&self, id: ReplicaId) -> Option<Source> {
        if let Some(slot) = self.slots.get(&id) {
            return Some(Source { directory: self.logs.of(&slot.app, id), gone: slot.log.gone.clone() });
        }
        let gone = CancellationToken::new();
        gone.cancel();
        self.logs.find(id).map(|directory| Source { directory, gone })
    }

    /// A replica is gone; its output stays for a while.
    pub(super) fn log_ended(&mut self, slot: &crate::slot::Slot, id: ReplicaId) {
        self.logs.ended(&slot.app, id);
        slot.log.gone.cancel();
        self.clean_at_ms = self.clean_at_ms.min(self.clock.now().mono_ms + CLEAN_SOON_MS);
    }

    /// Removes old output, and artifacts that are too much, when it is time to.
    pub(super) fn clean(&mut self) {
        let now_ms = self.clock.now().mono_ms;
        if now_ms >= self.clean_at_ms {
            self.logs.clean(|id| self.slots.contains_key(&id));
            self.fetches.tidy();
            self.clean_at_ms = now_ms + CLEAN_EVERY_MS;
        }
    }
}
