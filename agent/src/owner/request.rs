//! What the API asks of the owner, and how.

use std::time::Duration;

use bytes::Bytes;
use cluster::ReplicaId;
use cluster::endpoints::Endpoints;
use cluster::fence::{Held, Refusal};
use cluster::health::Push;
use cluster::usage::ReplicaUsage;
use cluster::wire::{Assignment, NodeFacts, Stamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Owner;
use crate::logs::Source;

/// The most questions that wait.
const QUEUE_MAX: usize = 256;
/// An owner that does not answer within this is of no use to whoever asks.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// A question, with where the answer goes. An answer that nobody waits for any more is dropped.
#[derive(Debug)]
pub enum Request {
    /// Obey this.
    Assign(Box<Assignment>, oneshot::Sender<Result<Stamp, Refused>>),
    /// Work by these.
    Endpoints(Box<Endpoints>, oneshot::Sender<Result<Stamp, Refused>>),
    /// Watch; the token ends the connection of a watcher that does not read. `None`: there are too many.
    Observe(CancellationToken, oneshot::Sender<Option<mpsc::Receiver<Bytes>>>),
    /// Where is this replica?
    Replica(ReplicaId, oneshot::Sender<Option<Whereabouts>>),
    /// Where is what this replica wrote, which may be gone?
    Log(ReplicaId, oneshot::Sender<Option<Source>>),
    /// What is this node?
    Node(oneshot::Sender<NodeFacts>),
    /// A replica says how it is, by a URL with this token in it. False: it is not its URL.
    Push(ReplicaId, String, Push, oneshot::Sender<bool>),
    /// Figures, as text.
    Metrics(oneshot::Sender<String>),
}

/// An assignment that was refused, or endpoints.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What is obeyed.
    pub held: Held,
}

/// Where a replica is.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// Its port, while its process is there.
    pub port: Option<u16>,
}

/// The owner did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is busy or ending; try again")]
pub struct Busy;

/// Where requests are handed in.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<Request>);

impl Door {
    /// A door, and where what is handed in comes out.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Door(sender), receiver)
    }

    /// Asks, and waits for the answer.
    pub async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Busy> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.0.send(request(reply)).await.map_err(|_| Busy)?;
            answer.await.map_err(|_| Busy)
        };
        timeout(ANSWER_DEADLINE, asked).await.unwrap_or(Err(Busy))
    }
}

impl Owner {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Assign(assignment, reply) => {
                let _ = reply.send(self.assign(*assignment));
            }
            Request::Endpoints(endpoints, reply) => {
                let _ = reply.send(self.take_endpoints(*endpoints));
            }
            Request::Observe(cut, reply) => {
                // What is waiting to be said is in the snapshot already, and what is gone is not in it.
                let snapshot = self.snapshot();
                let _ = reply.send(self.observers.add(snapshot, self.all_usage(), self.standing(), cut));
            }
            Request::Replica(id, reply) => {
                let whereabouts = self.slots.get(&id).map(|slot| Whereabouts { port: slot.attempt.pid.and(slot.attempt.port) });
                let _ = reply.send(whereabouts);
            }
            Request::Log(id, reply) => {
                let _ = reply.send(self.log_of(id));
            }
            Request::Node(reply) => {
                let _ = reply.send(NodeFacts { cluster: self.cluster(), ..self.facts.clone() });
            }
            Request::Push(id, token, push, reply) => {
                let _ = reply.send(self.called(id, &token, push));
            }
            Request::Metrics(reply) => {
                let _ = reply.send(self.metrics());
            }
        }
    }

    fn metrics(&self) -> String {
        let mut figures = self.figures.clone();
        for slot in self.slots.values() {
            *figures.replicas.entry(slot.replica.phase().to_string()).or_default() += 1;
        }
        figures.artifacts = self.fetches.counts();
        figures.observers = self.observers.count() as u64;
        figures.observers_cut_total = self.observers.cut_off;
        figures.guardians_ended_total = self.keeper.ended;
        figures.node.clone_from(&self.facts.name);
        let usage = self.all_usage();
        figures.host = usage.host;
        let app = |of: &ReplicaUsage| self.slots.get(&of.id).map(|slot| slot.app.clone());
        figures.usage = usage.replicas.into_iter().filter_map(|of| Some((app(&of)?, of))).collect();
        figures.render()
    }
}
