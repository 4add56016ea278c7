//! A replica as one gateway thread knows it: how to reach it, its idle connections, its requests in flight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::NodeId;
use cluster::balance;
use cluster::route::{Route, RouteKey, Target};
use cluster::sample::Sample;
use cluster::traffic::Protocol;

use crate::ack::ThreadAck;
use crate::h2_out::Shared;
use crate::keeping::Keeping;
use crate::ledger::Standing;
use crate::link::Lease;

/// The most idle connections to one replica that one thread keeps.
const IDLE_MAX: usize = 1_024;
/// The most idle connections beside which another is kept that the next request of its kind could not use: so many are enough to learn
/// from, and more would pile up at the replica.
const UNTRUSTED_IDLE_MAX: usize = 8;
/// A connection of this age is as good as just given back.
const FRESH_IDLE: Duration = Duration::from_millis(10);
/// The kernel is not asked whether a connection that was in use so recently has ended: the runtime has heard of all that came before the
/// request did, and an idempotent one that meets an end in that moment is sent again.
const UNSUSPECTED_IDLE: Duration = Duration::from_millis(100);

/// One route of the table, while any table or request of this thread knows it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) key: RouteKey,
    pub(crate) node: NodeId,
    pub(crate) target: Target,
    /// The number by which values are found to belong to it: the same after a restart in place.
    pub(crate) number: u64,
    pub(crate) protocol: Protocol,
    /// Its connections of HTTP/2.
    pub(crate) shared: Shared,
    /// How long opening a connection to it may take, in milliseconds.
    connect_ms: Cell<u64>,
    keeping: Cell<Keeping>,
    /// How it stands with all threads.
    standing: RefCell<Arc<Standing>>,
    /// Its requests under way are counted over all threads.
    is_weighed: Cell<bool>,
    /// What its answers were like since the last sweep.
    sample: RefCell<Sample>,
    /// How many of its requests wait for an answer, as a sweep counts them.
    waiting: Cell<u64>,
    in_flight: Cell<u64>,
    is_retired: Cell<bool>,
    /// Ordered by the time since when they are idle.
    idle: RefCell<Vec<Idle>>,
    ack: Arc<ThreadAck>,
}

#[derive(Debug)]
struct Idle {
    lease: Lease,
    since: Instant,
}

impl Replica {
    pub(crate) fn new(route: &Route, protocol: Protocol, standing: Arc<Standing>, ack: Arc<ThreadAck>) -> Rc<Self> {
        Rc::new(Replica {
            key: route.key,
            node: route.node,
            target: route.target.clone(),
            number: balance::hash(&route.key.replica.0.to_be_bytes()),
            protocol,
            shared: Shared::default(),
            connect_ms: Cell::new(0),
            keeping: Cell::new(Keeping::new()),
            standing: RefCell::new(standing),
            is_weighed: Cell::new(false),
            sample: RefCell::default(),
            waiting: Cell::new(0),
            in_flight: Cell::new(0),
            is_retired: Cell::new(false),
            idle: RefCell::new(Vec::new()),
            ack,
        })
    }

    /// It is in the table. `is_weighed`: its requests under way count, over all threads.
    pub(crate) fn enlist(&self, keepalive_idle: Duration, connect_ms: u64, standing: Arc<Standing>, is_weighed: bool) {
        self.learn(|keeping| keeping.configure(keepalive_idle));
        self.connect_ms.set(connect_ms);
        self.standing.replace(standing);
        self.is_weighed.set(is_weighed);
        self.is_retired.set(false);
    }

    /// It is in the table no more: its idle connections end, its requests go on.
    pub(crate) fn retire(&self) {
        self.is_retired.set(true);
        let idle = self.idle.take();
        drop(idle);
        self.shared.leave();
    }

    /// How long opening a connection to it may take, in milliseconds.
    pub(crate) fn connect_ms(&self) -> u64 {
        self.connect_ms.get()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// It is left out for now.
    pub(crate) fn is_ejected(&self) -> bool {
        self.standing.borrow().is_ejected()
    }

    /// Its requests under way, over all threads; counted where the app is balanced by it.
    pub(crate) fn load(&self) -> u64 {
        self.standing.borrow().in_flight()
    }

    /// How old it is, in milliseconds.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        self.standing.borrow().age_ms(now_ms)
    }

    /// What one of its answers was like. `is_error`: 5xx, or none at all.
    pub(crate) fn saw(&self, is_error: bool, first_byte: Duration) {
        self.sample.borrow_mut().count(is_error, u64::try_from(first_byte.as_micros()).unwrap_or(u64::MAX));
    }

    /// One more request is found to wait for an answer of it, in this sweep.
    pub(crate) fn count_waiting(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    /// How many were found since this was last asked.
    pub(crate) fn take_waiting(&self) -> u64 {
        self.waiting.take()
    }

    /// What was seen since this was last asked; `None`: nothing.
    pub(crate) fn take_sample(&self) -> Option<Sample> {
        let mut sample = self.sample.borrow_mut();
        if sample.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut *sample))
    }

    fn learn(&self, lesson: impl FnOnce(&mut Keeping)) {
        let mut keeping = self.keeping.get();
        lesson(&mut keeping);
        self.keeping.set(keeping);
    }

    /// Whether a connection that is idle for `age` may carry a request that is idempotent or not.
    fn may_carry(&self, is_idempotent: bool, age: Duration, now: Instant) -> bool {
        let keeping = self.keeping.get();
        let limit = if is_idempotent { Some(keeping.limit(now)) } else { keeping.trusted(now) };
        limit.is_some_and(|limit| age <= limit)
    }

    /// An idle connection that is fit for a request; what is found unfit on the way is closed.
    pub(crate) fn take_idle(&self, is_idempotent: bool) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        if at == 0 {
            return None;
        }
        let now = Instant::now();
        while at > 0 {
            at -= 1;
            let age = now.saturating_duration_since(idle[at].since);
            // The older ones are before it: if this one is too old, so are they. They are closed by the sweep, which looks at them first.
            if !self.may_carry(is_idempotent, age, now) {
                return None;
            }
            let lease = &idle[at].lease;
            let is_suspect = !is_idempotent || age >= UNSUSPECTED_IDLE;
            let is_unfit = if is_suspect { lease.is_dead() } else { lease.is_closed() };
            let mut lease = idle.remove(at).lease;
            if !is_unfit {
                lease.is_reused = true;
                return Some(lease);
            }
            self.learn(|keeping| keeping.saw_end(age, now));
        }
        None
    }

    /// Takes a connection back whose last answer was read to its end. `was_idempotent`: what it carried might have been sent twice.
    pub(crate) fn give_back(&self, lease: Lease, was_idempotent: bool) {
        // One of HTTP/2 is not the lease's to give back.
        if self.is_retired.get() || self.protocol == Protocol::H2c {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        if idle.len() >= UNTRUSTED_IDLE_MAX && !self.may_carry(was_idempotent, FRESH_IDLE, now) {
            return;
        }
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { lease, since: now });
    }

    /// Closes connections that were idle for too long, or that the replica has ended; learns from both how long it keeps them.
    pub(crate) fn sweep(&self) {
        self.shared.sweep(self.keeping.get().configured());
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut keeping = self.keeping.get();
        idle.retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            if idle.lease.is_closed() {
                keeping.saw_end(age, now);
                return false;
            }
            keeping.saw_open(age);
            age <= keeping.limit(now)
        });
        self.keeping.set(keeping);
    }
}

/// A request under way on a replica, from the moment it was picked until the last byte of its answer was taken.
#[derive(Debug)]
pub(crate) struct InFlight {
    replica: Rc<Replica>,
    weighed: Option<Arc<Standing>>,
}

impl InFlight {
    pub(crate) fn new(replica: Rc<Replica>) -> Self {
        replica.in_flight.set(replica.in_flight.get() + 1);
        let weighed = replica.is_weighed.get().then(|| Arc::clone(&replica.standing.borrow()));
        if let Some(standing) = &weighed {
            standing.enter();
        }
        InFlight { replica, weighed }
    }

    pub(crate) fn replica(&self) -> &Rc<Replica> {
        &self.replica
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(standing) = &self.weighed {
            standing.leave();
        }
        let replica = &self.replica;
        let left = replica.in_flight.get() - 1;
        replica.in_flight.set(left);
        if replica.is_retired.get() {
            replica.ack.fell(replica.key, left);
        }
    }
}
