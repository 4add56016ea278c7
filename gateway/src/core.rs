//! What one gateway thread holds: its table, its connections, its clock. None of it leaves the thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cluster::route::RouteKey;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::ack::ThreadAck;
use crate::buffer::Buffers;
use crate::client::{Client, Order};
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::config::Limits;
use crate::inbox::Published;
use crate::link::Link;
use crate::meters::ThreadMeters;
use crate::peers::Peers;
use crate::registry::Registry;
use crate::replica::Replica;
use crate::request_id::RequestIds;
use crate::table::Table;

/// One thread's part of the gateway.
#[derive(Debug)]
pub(crate) struct Core {
    /// The number of the thread.
    number: usize,
    pub(crate) limits: Rc<Limits>,
    pub(crate) clock: Rc<Clock>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) request_ids: RequestIds,
    pub(crate) clients: Rc<Registry<Client>>,
    pub(crate) links: Rc<Registry<Link>>,
    pub(crate) complaints: Complaints,
    /// What this thread counts beside its apps.
    pub(crate) meters: Arc<ThreadMeters>,
    pub(crate) log: Option<AccessLog>,
    /// Shared by all threads.
    pub(crate) peers: Arc<Peers>,
    /// The tasks of all client connections.
    pub(crate) tasks: TaskTracker,
    /// How many requests wait for a replica, over all threads.
    pub(crate) held: Arc<AtomicUsize>,
    /// Notified when the table has changed.
    pub(crate) table_changed: Notify,
    table: RefCell<Rc<Table>>,
    /// Replicas that left the table and still have requests in flight.
    retired: RefCell<Vec<Rc<Replica>>>,
    ack: Arc<ThreadAck>,
}

/// What a thread is given by the gateway.
#[derive(Debug)]
pub(crate) struct Given {
    /// Its number.
    pub(crate) number: usize,
    pub(crate) peers: Arc<Peers>,
    /// How many requests wait for a replica, over all threads.
    pub(crate) held: Arc<AtomicUsize>,
    pub(crate) ack: Arc<ThreadAck>,
    pub(crate) meters: Arc<ThreadMeters>,
    pub(crate) log: Option<AccessLog>,
}

impl Core {
    pub(crate) fn new(limits: &Limits, given: Given) -> Rc<Self> {
        let Given { number, peers, held, ack, meters, log } = given;
        Rc::new(Core {
            number,
            limits: Rc::new(limits.clone()),
            clock: Rc::new(Clock::new(limits)),
            buffers: Rc::default(),
            request_ids: RequestIds::new(),
            clients: Registry::new(),
            links: Registry::new(),
            complaints: Complaints::default(),
            meters,
            log,
            peers,
            tasks: TaskTracker::new(),
            held,
            table_changed: Notify::new(),
            table: RefCell::default(),
            retired: RefCell::default(),
            ack,
        })
    }

    /// The table to work by.
    pub(crate) fn table(&self) -> Rc<Table> {
        Rc::clone(&self.table.borrow())
    }

    /// Works by `published` from now on, and acknowledges it.
    pub(crate) fn apply(&self, published: &Published) {
        let before = self.table();
        let (table, retired) = Table::build(published, &before, &self.retired.borrow(), self.number, &self.limits, &self.ack);
        let version = table.version();
        let in_flight: BTreeMap<RouteKey, u64> = retired.iter().map(|replica| (replica.key, replica.in_flight())).collect();
        self.table.replace(Rc::new(table));
        self.retired.replace(retired);
        self.ack.acknowledge(version, in_flight);
        self.table_changed.notify_waiters();
    }

    /// These replicas were lost with their node: what waits on them for a first byte and may be sent again is let go.
    pub(crate) fn abandon(&self, keys: &BTreeSet<RouteKey>) {
        self.links.for_each(|link| {
            if link.replica().is_some_and(|key| keys.contains(&key)) {
                link.abandon();
            }
        });
    }

    /// Keeps all deadlines. Called once a tick.
    pub(crate) fn sweep(&self) {
        self.clock.advance();
        self.clients.for_each(|client| client.sweep());
        let table = self.table();
        self.links.for_each(|link| {
            link.sweep();
            if let Some(replica) = link.awaited().and_then(|key| table.replica(key)) {
                replica.count_waiting();
            }
        });
        table.replicas().for_each(|replica| replica.sweep());
        table.apps().for_each(|app| app.sweep());
        self.complaints.renew();
        self.hand_over_log();
        self.retired.borrow_mut().retain(|replica| replica.in_flight() > 0);
    }

    /// Lets what was gathered for the access log be written.
    pub(crate) fn hand_over_log(&self) {
        if let Some(log) = &self.log {
            log.hand_over(&self.meters);
        }
    }

    /// Tells all client connections.
    pub(crate) fn tell_all(&self, order: Order) {
        self.clients.for_each(|client| client.tell(order));
    }
}
