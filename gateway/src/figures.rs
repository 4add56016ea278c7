//! What the gateway has counted, for those who watch it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::app::AppName;
use cluster::outlier::Reason;

use crate::ledger::AppLedger;
use crate::meters::{BOUNDS_US, Counter, Histogram, ThreadMeters};

/// What the gateway has counted since it started; an app begins anew when it comes back after it was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Client connections that are open.
    pub connections: u64,
    /// What came and was no request of an app: malformed, too large, too slow, for nobody.
    pub refused: u64,
    /// Lines of the access log that were dropped since the file did not take them.
    pub log_dropped: u64,
    /// By app.
    pub apps: BTreeMap<AppName, AppFigures>,
}

/// The figures of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppFigures {
    /// Requests that ended: without an answer, then by the hundreds of their status from 1xx to 5xx.
    pub ended: [u64; 6],
    /// Requests under way.
    pub in_flight: u64,
    /// Sent again after a replica had got them.
    pub retries: u64,
    /// Would have been sent again, and the budget was used up.
    pub retries_refused: u64,
    /// Given to another replica, or to another connection, before a byte was sent.
    pub replays: u64,
    /// Requests that had to wait for a replica.
    pub held: u64,
    /// Requests that wait for one now.
    pub holding: u64,
    /// How often a replica was left out, by reason.
    pub ejections: BTreeMap<Reason, u64>,
    /// Replicas that are left out now.
    pub ejected: u64,
    /// From the head of a request to the first byte of a replica's answer.
    pub first_byte: Times,
    /// From the head of a request to the last byte of its answer.
    pub whole: Times,
}

/// Times by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    counts: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Times {
    /// For each class its upper end in microseconds (`None`: there is none) and how many took at most that long.
    pub fn cumulated(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = BOUNDS_US.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().scan(0u64, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    /// All times together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many times there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, histogram: &Histogram) {
        for (sum, class) in self.counts.iter_mut().zip(&histogram.classes) {
            *sum += class.get();
        }
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.get());
    }
}

/// Looks at a gateway's figures from anywhere. That of no gateway sees none.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    ledgers: Arc<Mutex<BTreeMap<AppName, Arc<AppLedger>>>>,
    threads: Vec<Arc<ThreadMeters>>,
    /// Lines that the file of the access log did not take.
    log_lost: Arc<AtomicU64>,
}

impl Observer {
    pub(crate) fn new(log_lost: Arc<AtomicU64>) -> Self {
        Observer { log_lost, ..Observer::default() }
    }

    /// One more thread counts.
    pub(crate) fn add(&mut self, meters: Arc<ThreadMeters>) {
        self.threads.push(meters);
    }

    /// The ledgers of the apps in the table; no thread locks them.
    pub(crate) fn ledgers(&self) -> MutexGuard<'_, BTreeMap<AppName, Arc<AppLedger>>> {
        // A panic between two changes leaves a ledger too few, which the next table adds.
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted until now, over all threads.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let ledgers = self.ledgers().clone();
        let mut figures = Figures { apps: ledgers.into_iter().map(|(name, ledger)| (name, app(&ledger))).collect(), ..Figures::default() };
        figures.log_dropped = self.log_lost.load(Ordering::Relaxed);
        for thread in &self.threads {
            figures.connections += thread.connections.get();
            figures.refused += thread.refused.get();
            figures.log_dropped += thread.log_dropped.get();
        }
        figures
    }
}

fn app(ledger: &AppLedger) -> AppFigures {
    let (ejections, ejected) = ledger.ejections();
    let mut figures = AppFigures { ejections, ejected, ..AppFigures::default() };
    for meters in ledger.all_meters() {
        for (sum, part) in figures.ended.iter_mut().zip(&meters.ended) {
            *sum += part.get();
        }
        let sums: [(&mut u64, &Counter); 6] = [
            (&mut figures.in_flight, &meters.in_flight),
            (&mut figures.retries, &meters.retries),
            (&mut figures.retries_refused, &meters.retries_refused),
            (&mut figures.replays, &meters.replays),
            (&mut figures.held, &meters.held),
            (&mut figures.holding, &meters.holding),
        ];
        for (sum, part) in sums {
            *sum += part.get();
        }
        figures.first_byte.add(&meters.first_byte);
        figures.whole.add(&meters.whole);
    }
    figures
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_cumulated_and_those_of_several_threads_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_micros(500));
        one.observe(Duration::from_micros(501));
        other.observe(Duration::from_secs(3_600));
        let mut times = Times::default();
        times.add(&one);
        times.add(&other);
        let cumulated: Vec<(Option<u64>, u64)> = times.cumulated().collect();
        assert_eq!(cumulated[..3], [(Some(500), 1), (Some(1_000), 2), (Some(2_500), 2)]);
        assert_eq!(cumulated.last(), Some(&(None, 3)));
        assert_eq!((times.count(), times.sum_us()), (3, 3_600_001_001));
    }
}
