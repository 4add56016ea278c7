//! Puts a controller together, but for its gateway and its way to the agents.

use std::sync::Arc;

use cluster::{ClusterState, Settings};
use gateway::Observer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, Ourselves, Sight};
use crate::app_source::SourceReport;
use crate::clock::Clock;
use crate::control::{self, Control, ControlHandle};
use crate::link::Dialer;
use crate::link::links::Links;
use crate::publication::{self, Subscriber};
use crate::store::Store;

/// What a controller is put together from.
pub struct Given {
    /// Where what is wanted is kept.
    pub store: Arc<dyn Store>,
    /// Makes the links to agents.
    pub dialer: Arc<dyn Dialer>,
    /// Durations.
    pub settings: Settings,
    /// The epoch in which it writes.
    pub epoch: u64,
    /// Its own addresses.
    pub ourselves: Ourselves,
    /// Host names by which the API may be called.
    pub allow_host: Vec<String>,
    /// Sees what the gateway counts.
    pub observer: Observer,
    /// How the app source is, where there is one.
    pub source: Option<watch::Receiver<Arc<SourceReport>>>,
}

/// How long things live.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    /// All tasks: joined at the end.
    pub tasks: TaskTracker,
    /// Ends every task.
    pub end: CancellationToken,
    /// Ends answers that have no end of their own; comes first.
    pub streams_end: CancellationToken,
}

/// The parts of a controller.
pub struct Parts {
    /// Owns the cluster's state; to be run.
    pub control: Control,
    /// The way to it.
    pub handle: ControlHandle,
    /// Answers calls.
    pub api: Api,
    /// Gets the routing tables.
    pub subscriber: Subscriber,
}

/// Puts them together.
#[must_use]
pub fn assemble(given: Given, life: &Lifetimes) -> Parts {
    let Given { store, dialer, settings, epoch, ourselves, allow_host, observer, source } = given;
    let clock = Clock::start();
    let (handle, inbox) = control::queue();
    let (publisher, subscriber) = publication::channel();
    let links = Links::new(dialer, handle.events(), life.tasks.clone(), life.end.clone());
    let api = Api::new(
        Arc::clone(&store),
        handle.clone(),
        Sight { tables: publisher.tables(), observer, source },
        ourselves,
        allow_host,
        life.streams_end.clone(),
    );
    let state = ClusterState::new(store.cluster(), epoch, settings, clock.now());
    let desired = store.watch();
    let mut control = Control { state, store, desired, links, publisher, inbox, handle: handle.clone(), tasks: life.tasks.clone(), clock };
    control.read_store();
    Parts { control, handle, api, subscriber }
}
