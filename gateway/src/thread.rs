//! One gateway thread: accepts, serves, hears from outside, keeps the deadlines, stops.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, Order};
use crate::core::Core;
use crate::door::Face;
use crate::downstream;
use crate::inbox::Inbox;

/// The pause after a failed accept, doubling from the first to the second while it goes on failing.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long connections that were cut may take to be gone.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// A listener and what is behind it.
pub(crate) type Door = (std::net::TcpListener, Face);

/// Runs the thread until it is told to stop. `make_core` is called on it; `started` is told once it serves, or why it cannot.
pub(crate) fn run(doors: Vec<Door>, inbox: &Arc<Inbox>, make_core: impl FnOnce() -> Rc<Core>, started: &SyncSender<io::Result<()>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let listeners: io::Result<Vec<(TcpListener, Face)>> =
            doors.into_iter().map(|(listener, face)| Ok((TcpListener::from_std(listener)?, face))).collect();
        match listeners {
            Ok(listeners) => {
                // Nobody listens only when the start was given up elsewhere; the order to stop follows then.
                let _ = started.send(Ok(()));
                serve(listeners, inbox, make_core()).await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}

async fn serve(listeners: Vec<(TcpListener, Face)>, inbox: &Inbox, core: Rc<Core>) {
    let mut accepting = JoinSet::new();
    for (listener, face) in listeners {
        accepting.spawn_local(accept(Rc::clone(&core), listener, Rc::new(face)));
    }
    let mut tick = interval(Duration::from_millis(core.clock.tick_ms()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let within = loop {
        tokio::select! {
            biased;
            news = inbox.next() => {
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

/// Accepts for ever. An error ends nothing: it is logged, and accepting goes on after a pause.
async fn accept(core: Rc<Core>, listener: TcpListener, face: Rc<Face>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let local = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                if cfg!(not(target_os = "linux"))
                    && let Err(error) = tcp.set_nodelay(true)
                {
                    // The client has gone already.
                    tracing::debug!(%peer, %error, "a connection ended before it began");
                    continue;
                }
                let client = Client::new(&core, peer, local);
                let entry = core.clients.enter(Rc::clone(&client));
                let (served, face) = (Rc::clone(&core), Rc::clone(&face));
                core.meters.connections.add(1);
                core.tasks.spawn_local(async move {
                    let _entry = entry;
                    downstream::serve(&served, &face, tcp, client).await;
                    served.meters.connections.take();
                });
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
