//! One gateway thread: accepts, serves, hears from outside, keeps the deadlines, stops.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, Order};
use crate::core::Core;
use crate::door::Face;
use crate::downstream;
use crate::inbox::Inbox;
use crate::problem::{Manner, Problem};

/// The pause after a failed accept, doubling from the first to the second while it goes on failing.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The most connections that are taken in at the end; the kernel keeps no more (`listen::BACKLOG`), but new ones may come all the time.
const WAITING_MAX: usize = 4_096;
/// How long connections that were cut may take to be gone.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// One thread's part of a door.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) face: Face,
    /// Its queue outlives us.
    pub(crate) is_inherited: bool,
}

/// A listener at work.
struct Entrance {
    listener: TcpListener,
    local: Rc<str>,
    face: Rc<Face>,
    is_inherited: bool,
}

impl Entrance {
    fn open(leaf: Leaf) -> io::Result<Rc<Self>> {
        let local = leaf.listener.local_addr().map_or_else(|_| "127.0.0.1".into(), |local| local.to_string().into());
        let listener = TcpListener::from_std(leaf.listener)?;
        Ok(Rc::new(Entrance { listener, local, face: Rc::new(leaf.face), is_inherited: leaf.is_inherited }))
    }
}

/// Runs the thread until it is told to stop. `make_core` is called on it; `started` is told once it serves, or why it cannot.
pub(crate) fn run(doors: Vec<Leaf>, inbox: &Arc<Inbox>, make_core: impl FnOnce() -> Rc<Core>, started: &SyncSender<io::Result<()>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let entrances: io::Result<Vec<Rc<Entrance>>> = doors.into_iter().map(Entrance::open).collect();
        match entrances {
            Ok(entrances) => {
                // Nobody listens only when the start was given up elsewhere; the order to stop follows then.
                let _ = started.send(Ok(()));
                serve(entrances, inbox, make_core()).await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

async fn serve(mut entrances: Vec<Rc<Entrance>>, inbox: &Inbox, core: Rc<Core>) {
    let mut accepting = JoinSet::new();
    for entrance in &entrances {
        accepting.spawn_local(accept(Rc::clone(&core), Rc::clone(entrance)));
    }
    let mut tick = interval(Duration::from_millis(core.clock.tick_ms()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let within = loop {
        tokio::select! {
            biased;
            news = inbox.next() => {
                for leaf in news.doors {
                    match Entrance::open(leaf) {
                        Ok(entrance) => {
                            accepting.spawn_local(accept(Rc::clone(&core), Rc::clone(&entrance)));
                            entrances.push(entrance);
                        }
                        Err(error) => tracing::error!(%error, "a door of the gateway cannot be opened"),
                    }
                }
                if let Some(published) = news.table {
                    core.apply(&published);
                }
                if !news.abandoned.is_empty() {
                    core.abandon(&news.abandoned);
                }
                if let Some(within) = news.stop {
                    break within;
                }
            }
            _ = tick.tick() => core.sweep(),
        }
    };
    accepting.shutdown().await;
    for entrance in entrances.into_iter().filter_map(Rc::into_inner) {
        if !entrance.is_inherited && !within.is_zero() {
            take_in(&core, entrance);
        }
    }
    stop(&core, inbox, within).await;
    core.hand_over_log();
}

/// Finishes what is under way, and cuts what is not finished in time.
async fn stop(core: &Core, inbox: &Inbox, within: Duration) {
    core.tasks.close();
    core.tell_all(Order::Finish);
    let mut tick = interval(Duration::from_millis(core.clock.tick_ms()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let finishing = async {
        while !core.clients.is_empty() {
            tokio::select! {
                biased;
                () = core.clients.became_empty() => {}
                // A table may still free a request that waits for a replica, and a later order may be shorter.
                news = inbox.next() => {
                    if let Some(published) = news.table {
                        core.apply(&published);
                    }
                    if news.stop.is_some_and(|within| within.is_zero()) {
                        return;
                    }
                }
                _ = tick.tick() => core.sweep(),
            }
        }
    };
    if timeout(within, finishing).await.is_err() {
        tracing::info!("requests are still under way at the end of the time to finish them: cutting them");
    }
    core.tell_all(Order::Cut);
    core.links.for_each(|link| link.cut());
    if timeout(CUT_WITHIN, core.tasks.wait()).await.is_err() {
        tracing::warn!("connections are still there after they were cut");
    }
}

/// Takes in whoever waits at a door that closes for good: the kernel would reset them with it.
fn take_in(core: &Rc<Core>, entrance: Entrance) {
    let Entrance { listener, local, face, .. } = entrance;
    // Only the kernel knows for sure: the runtime may not have heard of the last ones.
    let Ok(listener) = listener.into_std() else { return };
    let mut left = WAITING_MAX;
    while left > 0 {
        left -= 1;
        match listener.accept() {
            Ok((tcp, peer)) => match tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
                Ok(tcp) => begin(core, &local, &face, tcp, peer),
                Err(error) => tracing::debug!(%peer, %error, "a connection ended before it began"),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}

/// Begins to serve a connection.
fn begin(core: &Rc<Core>, local: &Rc<str>, face: &Rc<Face>, tcp: TcpStream, peer: SocketAddr) {
    let Some(place) = core.peers.admit(peer.ip()) else { return turn_away(core, &tcp) };
    if cfg!(not(target_os = "linux"))
        && let Err(error) = tcp.set_nodelay(true)
    {
        // The client has gone already.
        tracing::debug!(%peer, %error, "a connection ended before it began");
        return;
    }
    let client = Client::new(core, peer, Rc::clone(local));
    let entry = core.clients.enter(Rc::clone(&client));
    let (served, face) = (Rc::clone(core), Rc::clone(face));
    core.meters.connections.add(1);
    core.tasks.spawn_local(async move {
        let _held = (entry, place);
        downstream::serve(&served, &face, tcp, client).await;
        served.meters.connections.take();
    });
}

/// Tells a client that its address has too many connections, as far as that costs nothing: one write, one read of what it may have said
/// already (unread, it would reset the connection and take our answer with it), and the end.
fn turn_away(core: &Core, tcp: &TcpStream) {
    let max = core.limits.connections_per_address_max.unwrap_or_default();
    let problem = Problem::passing(format!("this address has {max} connections already, and may not have more; use those"));
    let mut answer = Vec::new();
    problem.write(&mut answer, Manner { is_http10: false, is_head: false, keeps_client: false, date: core.clock.date() });
    // Whoever does not take it is not waited for. The kernel is asked itself: the runtime has not heard of this connection yet.
    let socket = SockRef::from(tcp);
    let _ = socket.send(&answer);
    let _ = socket.recv(&mut [MaybeUninit::uninit(); 4 * 1024]);
}

/// Accepts for ever. An error ends nothing: it is logged, and accepting goes on after a pause.
async fn accept(core: Rc<Core>, entrance: Rc<Entrance>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let local = &entrance.local;
    loop {
        match entrance.listener.accept().await {
            Ok((tcp, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                begin(&core, local, &entrance.face, tcp, peer);
            }
            // The client was gone before we came to it (accept(2)): no reason to wait.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::warn!(%local, %error, pause_ms = pause.as_millis(), "cannot accept connections; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}
