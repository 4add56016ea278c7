//! The controller: keeps what is wanted, asks the agents what runs, and tells them what to run; serves the API and the apps.
//!
//! [`run`] reads from top to bottom: configuration, listeners, store, epoch, control task, API, gateway, a signal, the end.
//! Absent from here: decisions, which are the pure core's (`cluster`), and processes, which are the agents'.

#![forbid(unsafe_code)]

mod api;
mod app_source;
mod assembly;
mod clock;
mod config;
mod control;
mod doors;
mod front;
mod ids;
mod link;
mod publication;
mod signals;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{ClusterId, IdSource};
use gateway::access_log::Writer;
use gateway::inherited::Inherited;
use gateway::{Gateway, LocalDoor};
use tokio_util::sync::CancellationToken;

use crate::api::Ourselves;
use crate::app_source::AppSource;
use crate::assembly::{Given, Lifetimes};
use crate::doors::Doors;
use crate::ids::UuidSource;
use crate::link::http1::Http1Dialer;
use crate::signals::Signals;
use crate::store::Store;
use crate::store::redb::RedbStore;

pub use crate::app_source::{AppsFrom, Location};
pub use crate::config::Config;

/// How long requests that are under way get when the controller ends.
const DRAIN: Duration = Duration::from_secs(10);
/// How long tasks get to end after that.
const JOIN: Duration = Duration::from_secs(2);
/// How many API connections may wait to be served.
const DOOR_WAITING_MAX: usize = 128;

/// Why a controller did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The addresses to listen on.
    #[error(transparent)]
    Doors(#[from] doors::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The app source.
    #[error(transparent)]
    AppSource(#[from] app_source::Error),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] gateway::access_log::Error),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The control task ended by itself.
    #[error(
        "the control loop ended by itself, which is a fault in this program: {0}; what runs on the nodes runs on, start the controller again"
    )]
    ControlEnded(String),
}

/// Runs a controller until SIGINT or SIGTERM. What runs on the nodes runs on without it. `inherited`: listening sockets that were handed over,
/// which it uses in place of its own.
///
/// # Errors
/// An [`Error`] of one line, with the path or the port in it.
pub async fn run(config: Config, inherited: Vec<Inherited>) -> Result<(), Error> {
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let settings = config.settings()?;
    let directory = config.data_directory()?;
    let app_source = config.apps.clone().map(|from| AppSource::open(from, config.insecure)).transpose()?;
    let access_log = config.access_log.as_ref().map(Writer::start).transpose()?;
    let mut gateway_config = gateway::Config::default();
    let doors = Doors::open(&config, inherited, gateway_config.threads)?;
    gateway_config.limits = config.gateway_limits;
    gateway_config.trusted_proxies = config.trusted_proxies;
    gateway_config.access_log = access_log;
    let ourselves = Ourselves::new(doors.addresses());

    let store: Arc<dyn Store> = Arc::new(open_store(directory).await?);
    app_source::fill(&*store, app_source.is_some()).await?;
    let epoch = store.next_epoch(0).await?;
    tracing::info!("cluster {}, epoch {epoch}", store.cluster());

    let life = Lifetimes::default();
    let (tasks, end) = (&life.tasks, &life.end);
    let dialer = Http1Dialer::new(Duration::from_millis(settings.lost_after_ms), tasks.clone(), end.clone());
    let (door, connections) = LocalDoor::new(DOOR_WAITING_MAX);
    let gateway = Gateway::start(gateway_config, doors.into_gateway(&door))?;
    let (allow_host, observer) = (config.allow_host, gateway.observer());
    let source = app_source.as_ref().map(AppSource::reports);
    if let Some(app_source) = app_source {
        tasks.spawn(app_source.run(Arc::clone(&store), end.clone()));
    }
    let given = Given { store, dialer: Arc::new(dialer), settings, epoch, ourselves, allow_host, observer, source };
    let parts = assembly::assemble(given, &life);

    let stop = CancellationToken::new();
    tasks.spawn(api::serve(connections, parts.api.router(), tasks.clone(), end.clone()));
    let mut front = tasks.spawn(front::hold(gateway, parts.subscriber, parts.handle.events(), stop.clone(), DRAIN));
    let mut control = tasks.spawn(parts.control.run(end.clone()));

    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!("{signal}: ending; what runs on the nodes runs on");
            Ok(())
        }
        ended = &mut control => Err(Error::ControlEnded(ended.err().map_or_else(String::new, |error| error.to_string()))),
    };
    life.streams_end.cancel();
    stop.cancel();
    tokio::select! {
        _ = &mut front => {}
        signal = signals.next() => {
            tracing::warn!("{signal} again: ending at once");
            front.abort();
        }
    }
    end.cancel();
    tasks.close();
    if tokio::time::timeout(JOIN, tasks.wait()).await.is_err() {
        tracing::warn!("{} tasks did not end in time", tasks.len());
    }
    outcome
}

async fn open_store(directory: PathBuf) -> Result<RedbStore, store::Error> {
    let path = directory.clone();
    let opening = tokio::task::spawn_blocking(move || RedbStore::open(&directory, || ClusterId(UuidSource.next_id())));
    opening.await.unwrap_or_else(|error| Err(store::Error::Write { path, what: error.to_string() }))
}
