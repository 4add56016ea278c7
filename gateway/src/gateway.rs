//! The handle of a running gateway.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster::route::{RouteAck, RouteKey, RoutingTable};
use cluster::router::Router;
use tokio::sync::Notify;

use crate::access_log::Writer;
use crate::ack::{self, ThreadAck};
use crate::config::Config;
use crate::core::{Core, Given};
use crate::door::Door;
use crate::figures::Observer;
use crate::inbox::{Inbox, Published};
use crate::ledger::AppLedger;
use crate::meters::ThreadMeters;
use crate::peers::Peers;
use crate::thread::{self, Leaf};

/// How long a thread may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The doors do not fit the threads.
    #[error("the gateway has {threads} threads, and a door has {listeners} listeners: each door needs one for each thread")]
    Doors {
        /// Threads.
        threads: usize,
        /// Listeners of the door.
        listeners: usize,
    },
    /// A thread could not be started, or cannot serve.
    #[error("cannot start thread {number} of the gateway: {source}")]
    Thread {
        /// Which one.
        number: usize,
        /// Why.
        source: io::Error,
    },
}

/// A running gateway: one thread per core, each with listeners, upstream connections and a routing table of its own.
///
/// Dropped without [`Gateway::shutdown`] it cuts its connections and joins its threads.
#[derive(Debug)]
pub struct Gateway {
    threads: Vec<Thread>,
    observer: Observer,
    began: Instant,
    ack_changed: Arc<Notify>,
    log: Option<Writer>,
}

#[derive(Debug)]
struct Thread {
    inbox: Arc<Inbox>,
    ack: Arc<ThreadAck>,
    handle: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the threads, and returns when all of them serve. Each door has one listener per thread ([`crate::listen::bind`]).
    ///
    /// Requests that come before the first table wait for it, as for a replica.
    ///
    /// # Errors
    /// An [`Error`] that says which door or thread.
    pub fn start(config: Config, doors: Vec<Door>) -> Result<Gateway, Error> {
        let Config { threads, limits, access_log, trusted_proxies } = config;
        let peers = Peers::new(trusted_proxies, limits.connections_per_address_max);
        let threads = threads.max(1);
        let mut doors_of: Vec<Vec<Leaf>> = (0..threads).map(|_| Vec::new()).collect();
        for door in doors {
            for (doors, leaf) in doors_of.iter_mut().zip(leaves(door, threads)?) {
                doors.push(leaf);
            }
        }
        let observer = Observer::new(access_log.as_ref().map(Writer::lost).unwrap_or_default());
        let mut gateway = Gateway { threads: Vec::new(), observer, began: Instant::now(), ack_changed: Arc::default(), log: access_log };
        let held: Arc<AtomicUsize> = Arc::default();
        for (number, doors) in doors_of.into_iter().enumerate() {
            let failed = |source| Error::Thread { number, source };
            let inbox: Arc<Inbox> = Arc::default();
            let ack = ThreadAck::new(Arc::clone(&gateway.ack_changed));
            let (started, has_started) = mpsc::sync_channel(1);
            let meters: Arc<ThreadMeters> = Arc::default();
            let given = Given {
                number,
                peers: Arc::clone(&peers),
                held: Arc::clone(&held),
                ack: Arc::clone(&ack),
                meters: Arc::clone(&meters),
                log: gateway.log.as_ref().map(Writer::end),
            };
            let (thread_inbox, limits) = (Arc::clone(&inbox), limits.clone());
            let run = move || thread::run(doors, &thread_inbox, || Core::new(&limits, given), &started);
            let handle = std::thread::Builder::new().name(format!("gateway-{number}")).spawn(run).map_err(failed)?;
            gateway.observer.add(meters);
            gateway.threads.push(Thread { inbox, ack, handle: Some(handle) });
            wait_for_start(&has_started).map_err(failed)?;
        }
        Ok(gateway)
    }

    /// Looks at its figures, from anywhere.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Opens another door. Who comes through it is served once the threads have heard of it.
    ///
    /// # Errors
    /// An [`Error`]: it does not have one listener for each thread, or they cannot be used.
    pub fn open(&self, door: Door) -> Result<(), Error> {
        for (thread, leaf) in self.threads.iter().zip(leaves(door, self.threads.len())?) {
            thread.inbox.open(leaf);
        }
        Ok(())
    }

    /// Gives all threads a table. Each works by it from its next request on, and acknowledges it.
    pub fn publish(&self, table: Arc<RoutingTable>) {
        let ledgers = {
            let mut ledgers = self.observer.ledgers();
            ledgers.retain(|name, _| table.apps.contains_key(name));
            for (name, routes) in &table.apps {
                let ledger =
                    ledgers.entry(name.clone()).or_insert_with(|| Arc::new(AppLedger::new(name.clone(), self.threads.len(), self.began)));
                ledger.keep(routes);
            }
            ledgers.values().cloned().collect()
        };
        let router = Arc::new(Router::new(&table));
        let published = Arc::new(Published { table, router, ledgers });
        for thread in &self.threads {
            thread.inbox.publish(Arc::clone(&published));
        }
    }

    /// These routes were lost with their node: requests that wait on them for a first byte and may be sent again are sent elsewhere at
    /// once. To be called after [`Gateway::publish`] of a table without them. A route that leaves because its replica drains must not
    /// come here: its requests are to be finished.
    pub fn abandon(&self, keys: Vec<RouteKey>) {
        for thread in &self.threads {
            thread.inbox.abandon(&keys);
        }
    }

    /// The version by which every thread works at least, and the requests under way on routes that the table has no more.
    #[must_use]
    pub fn ack(&self) -> RouteAck {
        ack::merge(self.threads.iter().map(|thread| thread.ack.as_ref()))
    }

    /// Returns when [`Gateway::ack`] may have changed since this was last called; a change in between is not missed. For one waiter.
    pub async fn ack_changed(&self) {
        self.ack_changed.notified().await;
    }

    /// Stops accepting, finishes requests within `deadline`, cuts what is left, and joins the threads.
    pub async fn shutdown(mut self, deadline: Duration) {
        for thread in &self.threads {
            thread.inbox.stop(deadline);
        }
        let handles: Vec<JoinHandle<()>> = self.threads.iter_mut().filter_map(|thread| thread.handle.take()).collect();
        let log = self.log.take();
        let joined = tokio::task::spawn_blocking(move || {
            handles.into_iter().for_each(join);
            log.into_iter().for_each(Writer::join);
        });
        if joined.await.is_err() {
            tracing::error!("the threads of the gateway could not be joined");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.inbox.stop(Duration::ZERO);
        }
        self.threads.iter_mut().filter_map(|thread| thread.handle.take()).for_each(join);
        self.log.take().into_iter().for_each(Writer::join);
    }
}

/// Each thread's part of a door.
fn leaves(Door { listeners, face, is_inherited }: Door, threads: usize) -> Result<Vec<Leaf>, Error> {
    if listeners.len() != threads {
        return Err(Error::Doors { threads, listeners: listeners.len() });
    }
    let leaf = |listener: std::net::TcpListener| {
        // tokio takes no other; a caller's own listener may not have been made for it.
        listener.set_nonblocking(true)?;
        // On Linux what it accepts inherits this, and needs no call of its own.
        socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
        Ok(Leaf { listener, face: face.clone(), is_inherited })
    };
    listeners.into_iter().map(leaf).collect::<io::Result<_>>().map_err(|source| Error::Thread { number: 0, source })
}

fn join(handle: JoinHandle<()>) {
    let name = handle.thread().name().unwrap_or("gateway").to_owned();
    if handle.join().is_err() {
        tracing::error!("thread {name} panicked");
    }
}

/// Waits for a thread to say that it serves. It waits for nothing itself but the system.
fn wait_for_start(has_started: &mpsc::Receiver<io::Result<()>>) -> io::Result<()> {
    has_started
        .recv_timeout(START_WITHIN)
        .unwrap_or_else(|_| Err(io::Error::other(format!("it did not say within {START_WITHIN:?} that it serves"))))
}
