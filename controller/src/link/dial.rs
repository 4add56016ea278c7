//! The three tasks of a node: one dials its agent and reads what it observes, one tells it what to run, one whom its replicas may call.
//!
//! They only report. None decides anything, and none gives up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Event;
use cluster::endpoints::Endpoints;
use cluster::wire::Assignment;
use cluster::{NodeId, liveness};
use tokio::sync::{Notify, mpsc, watch};

use super::{Link, Put};
use crate::control::Message;

/// A stream that ends sooner than this counts as a failed dial: the next one waits.
const STREAM_MIN: Duration = Duration::from_secs(1);

/// Dials, reads, and dials again, for ever. `now`: dial at once, whatever the wait.
pub async fn observe(node: NodeId, link: Arc<dyn Link>, events: mpsc::Sender<Message>, now: Arc<Notify>) {
    let mut failures = 0;
    loop {
        let wait = Duration::from_millis(liveness::redial_after_ms(failures));
        if !wait.is_zero() {
            let _ = tokio::time::timeout(wait, now.notified()).await;
        }
        let began = Instant::now();
        let end = match stream(node, &*link, &events).await {
            Ok(()) => return,
            Err(end) => end,
        };
        failures = if end.opened && began.elapsed() >= STREAM_MIN { 0 } else { failures.saturating_add(1) };
        let event = match end {
            End { opened: true, error, .. } => Event::StreamEnded { node, error },
            End { refused, error, .. } => Event::DialFailed { node, refused, error },
        };
        if events.send(event.into()).await.is_err() {
            return;
        }
    }
}

/// How one attempt ended.
struct End {
    opened: bool,
    refused: bool,
    error: String,
}

/// One dial, and its stream until that ends. `Ok`: nobody listens to us any more.
async fn stream(node: NodeId, link: &dyn Link, events: &mpsc::Sender<Message>) -> Result<(), End> {
    let failed = |opened: bool| move |error: super::Error| End { opened, refused: error.is_refused(), error: error.to_string() };
    let facts = link.facts().await.map_err(failed(false))?;
    let mut lines = link.observe().await.map_err(failed(false))?;
    let instance = facts.instance;
    if events.send(Event::Connected { node, facts }.into()).await.is_err() {
        return Ok(());
    }
    loop {
        let line = lines.next().await.map_err(failed(true))?;
        if line.instance != instance {
            let error = "its agent was started anew between two calls".to_owned();
            return Err(End { opened: true, refused: false, error });
        }
        if events.send(Event::Line { node, line }.into()).await.is_err() {
            return Ok(());
        }
    }
}

/// Sends each assignment, and of several only the last.
pub async fn assign(
    node: NodeId,
    link: Arc<dyn Link>,
    events: mpsc::Sender<Message>,
    mut assignments: watch::Receiver<Option<Arc<Assignment>>>,
) {
    while assignments.changed().await.is_ok() {
        let Some(assignment) = assignments.borrow_and_update().clone() else { continue };
        let stamp = assignment.stamp;
        let event = match link.put(&assignment).await {
            Ok(Put::Accepted) => Event::PutAccepted { node, stamp },
            Ok(Put::Conflict { held, detail }) => Event::PutConflict { node, stamp, held, detail },
            Err(error) => Event::PutFailed { node, stamp, error: error.to_string() },
        };
        if events.send(event.into()).await.is_err() {
            return;
        }
    }
}

/// Sends endpoints, and of several only the last. That they came is said in the stream of observations; if it is not, they come again.
pub async fn tell_endpoints(node: NodeId, link: Arc<dyn Link>, mut endpoints: watch::Receiver<Option<Arc<Endpoints>>>) {
    while endpoints.changed().await.is_ok() {
        let Some(endpoints) = endpoints.borrow_and_update().clone() else { continue };
        match link.put_endpoints(&endpoints).await {
            Ok(Put::Accepted) => {}
            Ok(Put::Conflict { detail, .. }) => tracing::debug!(%node, "endpoints were refused: {detail}"),
            Err(error) => tracing::debug!(%node, %error, "endpoints were not taken"),
        }
    }
}
