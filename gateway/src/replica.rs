//! A replica as one gateway thread knows it: how to reach it, its idle connections, its requests in flight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::NodeId;
use cluster::route::{Protocol, Route, RouteKey, Target};

use crate::ack::ThreadAck;
use crate::h2_out::Shared;
use crate::link::Lease;

/// The most idle connections to one replica that one thread keeps.
const IDLE_MAX: usize = 1_024;
/// What must not be sent twice goes out on a connection that was in use so recently, or on a new one: the replica may be about to end
/// one that was idle for longer.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// The kernel is not asked whether a connection that was in use so recently has ended: the runtime has heard of all that came before the
/// request did, and an idempotent one that meets an end in that moment is sent again.
const UNSUSPECTED_IDLE: Duration = Duration::from_millis(100);

/// One route of the table, while any table or request of this thread knows it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) key: RouteKey,
    pub(crate) node: NodeId,
    pub(crate) target: Target,
    pub(crate) protocol: Protocol,
    /// Its connections of HTTP/2.
    pub(crate) shared: Shared,
    keepalive_idle: Cell<Duration>,
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
    pub(crate) fn new(route: &Route, protocol: Protocol, ack: Arc<ThreadAck>) -> Rc<Self> {
        Rc::new(Replica {
            key: route.key,
            node: route.node,
            target: route.target.clone(),
            protocol,
            shared: Shared::default(),
            keepalive_idle: Cell::new(Duration::ZERO),
            in_flight: Cell::new(0),
            is_retired: Cell::new(false),
            idle: RefCell::new(Vec::new()),
            ack,
        })
    }

    /// It is in the table.
    pub(crate) fn enlist(&self, keepalive_idle: Duration) {
        self.keepalive_idle.set(keepalive_idle);
        self.is_retired.set(false);
    }

    /// It is in the table no more: its idle connections end, its requests go on.
    pub(crate) fn retire(&self) {
        self.is_retired.set(true);
        let idle = self.idle.take();
        drop(idle);
        self.shared.leave();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.get()
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
            if age > self.keepalive_idle.get() {
                // So are all before it.
                idle.drain(..=at);
                return None;
            }
            if !is_idempotent && age >= TRUSTED_IDLE {
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
        }
        None
    }

    /// Takes a connection back whose last answer was read to its end.
    pub(crate) fn give_back(&self, lease: Lease) {
        // One of HTTP/2 is not the lease's to give back.
        if self.is_retired.get() || self.protocol == Protocol::H2c {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { lease, since: Instant::now() });
    }

    /// Closes connections that were idle for too long, or that the replica has ended.
    pub(crate) fn sweep(&self) {
        self.shared.sweep(self.keepalive_idle.get());
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return;
        }
        let now = Instant::now();
        let limit = self.keepalive_idle.get();
        idle.retain(|idle| !idle.lease.is_closed() && now.saturating_duration_since(idle.since) <= limit);
    }
}

/// A request under way on a replica, from the moment it was picked until the last byte of its answer was taken.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Replica>);

impl InFlight {
    pub(crate) fn new(replica: Rc<Replica>) -> Self {
        replica.in_flight.set(replica.in_flight.get() + 1);
        InFlight(replica)
    }

    pub(crate) fn replica(&self) -> &Rc<Replica> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get() - 1;
        self.0.in_flight.set(left);
        if self.0.is_retired.get() {
            self.0.ack.fell(self.0.key, left);
        }
    }
}
