//! What all gateway threads keep of one app together: whose turn it is, who is left out, how much may be sent again.
//!
//! The decisions are those of `cluster::outlier` and `cluster::retry`. A request that goes well takes a turn and locks nothing; the lock is
//! taken by what fails, by new upstream connections, and by each thread's sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cluster::app::AppName;
use cluster::outlier::{Change, Outliers, Reason};
use cluster::retry::RetryBudget;
use cluster::route::{AppRoutes, RouteKey};
use cluster::sample::Sample;

use crate::meters::AppMeters;

/// The book of one app.
#[derive(Debug)]
pub(crate) struct AppLedger {
    name: AppName,
    /// Counts the requests, over all threads and tables: so round-robin is exact.
    turn: AtomicUsize,
    /// How many of its replicas are left out.
    ejected: AtomicUsize,
    judge: Mutex<Judge>,
    /// One for each thread.
    meters: Box<[Arc<AppMeters>]>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Judge {
    outliers: Outliers,
    budget: RetryBudget,
    standings: BTreeMap<RouteKey, Arc<Standing>>,
    ejections: BTreeMap<Reason, u64>,
}

/// How one replica stands with all threads.
#[derive(Debug)]
pub(crate) struct Standing {
    is_ejected: AtomicBool,
    in_flight: AtomicU64,
    /// When it came into the table, in milliseconds of the ledger, and how old it was then.
    since_ms: u64,
    age_ms: u64,
}

impl Standing {
    fn new(since_ms: u64, age_ms: u64) -> Self {
        Standing { is_ejected: AtomicBool::new(false), in_flight: AtomicU64::new(0), since_ms, age_ms }
    }

    /// It is left out for now.
    pub(crate) fn is_ejected(&self) -> bool {
        self.is_ejected.load(Ordering::Relaxed)
    }

    /// Its requests under way, over all threads; counted only where the app is balanced by it.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// One more is under way.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How old it is, in milliseconds.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        self.age_ms.saturating_add(now_ms.saturating_sub(self.since_ms))
    }
}

impl AppLedger {
    /// An empty one for so many threads. `began`: the moment from which its milliseconds count.
    pub(crate) fn new(name: AppName, threads: usize, began: Instant) -> Self {
        AppLedger {
            name,
            turn: AtomicUsize::new(0),
            ejected: AtomicUsize::new(0),
            judge: Mutex::default(),
            meters: (0..threads).map(|_| Arc::default()).collect(),
            began,
        }
    }

    fn judge(&self) -> MutexGuard<'_, Judge> {
        // What a panic elsewhere may have left half done is a figure or a replica left out, which the next sweep corrects.
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment, as the ledger counts.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A table comes with these routes.
    pub(crate) fn keep(&self, routes: &AppRoutes) {
        let now_ms = self.now_ms();
        let mut judge = self.judge();
        let keys: BTreeSet<RouteKey> = routes.replicas.iter().map(|route| route.key).collect();
        judge.standings.retain(|key, _| keys.contains(key));
        for route in &routes.replicas {
            judge.standings.entry(route.key).or_insert_with(|| Arc::new(Standing::new(now_ms, route.age_ms)));
        }
        let changes = judge.outliers.keep(&keys, routes.traffic.max_ejected_percent, now_ms);
        self.carry_out(&mut judge, &changes);
    }

    /// How a replica of the latest table stands.
    pub(crate) fn standing(&self, key: RouteKey) -> Arc<Standing> {
        let known = self.judge().standings.get(&key).map(Arc::clone);
        // A thread may be a table behind: that replica is gone by now.
        known.unwrap_or_else(|| Arc::new(Standing::new(self.now_ms(), 0)))
    }

    /// Takes a turn: the number of a request.
    pub(crate) fn take_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn, without taking it.
    pub(crate) fn turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    /// Somebody is left out.
    pub(crate) fn has_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed) > 0
    }

    /// A request that a replica had got may be sent again.
    pub(crate) fn may_retry(&self) -> bool {
        let (now_ms, requests) = (self.now_ms(), self.turn() as u64);
        let mut judge = self.judge();
        judge.budget.count(requests, now_ms);
        judge.budget.take(now_ms)
    }

    /// A connection to a replica could not be opened.
    pub(crate) fn connect_failed(&self, key: RouteKey) {
        let now_ms = self.now_ms();
        let mut judge = self.judge();
        let change = judge.outliers.connect_failed(key, now_ms);
        self.carry_out(&mut judge, change.as_slice());
    }

    /// A connection to a replica was opened.
    pub(crate) fn connected(&self, key: RouteKey) {
        self.judge().outliers.connected(key);
    }

    /// A thread's sweep. `seen`: of each replica what its answers were like since the last one, and how many requests wait for one.
    pub(crate) fn sweep(&self, thread: usize, seen: impl Iterator<Item = (RouteKey, Option<Sample>, u64)>) {
        let (now_ms, requests) = (self.now_ms(), self.turn() as u64);
        let mut judge = self.judge();
        judge.budget.count(requests, now_ms);
        for (key, sample, waiting) in seen {
            if let Some(sample) = sample {
                judge.outliers.add(key, &sample);
            }
            judge.outliers.waiting(thread, key, waiting, now_ms);
        }
        let changes = judge.outliers.tick(now_ms);
        self.carry_out(&mut judge, &changes);
    }

    fn carry_out(&self, judge: &mut Judge, changes: &[Change]) {
        for Change { key, ejected } in changes {
            if let Some(standing) = judge.standings.get(key) {
                standing.is_ejected.store(ejected.is_some(), Ordering::Relaxed);
            }
            let (app, replica) = (&self.name, key.replica);
            match ejected {
                Some((reason, for_ms)) => {
                    *judge.ejections.entry(*reason).or_default() += 1;
                    tracing::warn!("replica {replica} of app {app} gets no requests for {for_ms} ms: {reason}");
                }
                None => tracing::info!("replica {replica} of app {app} gets requests again"),
            }
        }
        self.ejected.store(judge.outliers.ejected().count(), Ordering::Relaxed);
    }

    /// How often somebody was left out, by reason, and how many are now.
    pub(crate) fn ejections(&self) -> (BTreeMap<Reason, u64>, u64) {
        let judge = self.judge();
        let counts = Reason::ALL.into_iter().map(|reason| (reason, judge.ejections.get(&reason).copied().unwrap_or_default())).collect();
        (counts, judge.outliers.ejected().count() as u64)
    }

    /// The counters of a thread.
    pub(crate) fn meters(&self, thread: usize) -> Arc<AppMeters> {
        // There is one for each thread.
        self.meters.get(thread).map(Arc::clone).unwrap_or_default()
    }

    /// The counters of all threads.
    pub(crate) fn all_meters(&self) -> impl Iterator<Item = &AppMeters> {
        self.meters.iter().map(AsRef::as_ref)
    }
}
