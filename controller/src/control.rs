//! The control task: the one owner of the cluster's state.
//!
//! API, links and gateway talk to it through one bounded queue. It takes in all that is queued, decides once, and hands what
//! follows to those who carry it out; it waits for none of them, so that nothing they do can stop it. Absent from here: what
//! is decided. That is the pure core's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::node::NodeState;
use cluster::status::{NodeStatus, Status};
use cluster::{AppName, ClusterState, NodeId, ReplicaId};
use cluster::{Effects, Event, Member};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ids::UuidSource;
use crate::link::Link;
use crate::link::links::Links;
use crate::publication::Publisher;
use crate::store::{self, Change, Desired, Store};

/// How many messages may wait for the control task.
const QUEUE: usize = 4096;
/// How many messages are taken in before the next decision.
const BATCH: usize = 1024;
/// How long an API call waits for the control task.
const ANSWER: Duration = Duration::from_secs(2);
/// How long the first dial of a node may take before add-node answers without it.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a change of what is wanted waits for the nodes that are dialled because of it.
const KNOCK: Duration = Duration::from_millis(250);
/// The name under which the gateway acknowledges routing tables.
pub const GATEWAY: &str = "gateway";
/// After a failed write to the store, the next try waits.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What is said to the control task.
pub enum Message {
    /// Something happened.
    Event(Box<Event>),
    /// How is everything?
    Status(oneshot::Sender<Status>),
    /// How is this node, once its first dial has ended? `None`: there is no such node.
    Settled(NodeId, oneshot::Sender<Option<NodeStatus>>),
    /// Dial all nodes that are not heard, and say when each has answered or not.
    Knock(oneshot::Sender<()>),
    /// How are the nodes reached that may have something of this replica?
    LinksFor(ReplicaId, oneshot::Sender<LinksFor>),
    /// A write to the store, asked for by an earlier decision, has ended.
    Stored(StoreWork),
}

/// By which links something of a replica may be found.
pub enum LinksFor {
    /// It is on this node.
    One(Arc<dyn Link>),
    /// It is on none now: any of these may have had it.
    Any(Vec<Arc<dyn Link>>),
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Message::Event(Box::new(event))
    }
}

/// A write to the store that a decision asked for.
#[derive(Clone, Debug)]
pub enum StoreWork {
    /// Raise the epoch.
    Epoch,
    /// Delete these apps.
    Apps(Vec<AppName>),
    /// Delete these members, and clear `take_over` of those.
    Members {
        /// To delete.
        forget: Vec<NodeId>,
        /// Obey this cluster now.
        taken_over: Vec<NodeId>,
    },
}

/// The control task did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control loop does not answer; try again in a second, and look at the controller's log if this goes on")]
pub struct Silent;

/// How the API talks to the control task.
#[derive(Clone)]
pub struct ControlHandle {
    queue: mpsc::Sender<Message>,
}

impl ControlHandle {
    /// The queue, for those who report events.
    #[must_use]
    pub fn events(&self) -> mpsc::Sender<Message> {
        self.queue.clone()
    }

    async fn ask<T>(&self, within: Duration, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Silent> {
        let (reply, answer) = oneshot::channel();
        let call = async {
            self.queue.send(question(reply)).await.map_err(|_| Silent)?;
            answer.await.map_err(|_| Silent)
        };
        tokio::time::timeout(within, call).await.map_err(|_| Silent)?
    }

    /// How everything is, with all that the store acknowledged before this call.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn status(&self) -> Result<Status, Silent> {
        self.ask(ANSWER, Message::Status).await
    }

    /// How a node is, once its first dial has ended or a second has passed. `None`: there is no such node.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn settled(&self, node: NodeId) -> Result<Option<NodeStatus>, Silent> {
        self.ask(ANSWER + SETTLE, |reply| Message::Settled(node, reply)).await
    }

    /// Dials all nodes that are not heard. Returns when each has answered or not, or after a quarter of a second: an agent that was
    /// started just before a change of what is wanted is there for it.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn knock(&self) -> Result<(), Silent> {
        self.ask(ANSWER, Message::Knock).await
    }

    /// The links by which something of a replica may be found.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn links_for(&self, replica: ReplicaId) -> Result<LinksFor, Silent> {
        self.ask(ANSWER, |reply| Message::LinksFor(replica, reply)).await
    }
}

/// The queue to a control task that is yet to be made.
#[must_use]
pub fn queue() -> (ControlHandle, mpsc::Receiver<Message>) {
    let (queue, inbox) = mpsc::channel(QUEUE);
    (ControlHandle { queue }, inbox)
}

/// The control task.
pub struct Control {
    /// The cluster's state.
    pub state: ClusterState,
    /// Where it is kept what is wanted.
    pub store: Arc<dyn Store>,
    /// What the store has.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// The links to the nodes.
    pub links: Links,
    /// Where routing tables go.
    pub publisher: Publisher,
    /// What is said to it.
    pub inbox: mpsc::Receiver<Message>,
    /// The way to its own inbox, for the writes to the store that it asks for.
    pub handle: ControlHandle,
    /// The tasks of those writes.
    pub tasks: TaskTracker,
    /// The time.
    pub clock: Clock,
}

/// What is put off until the next decision is carried out.
#[derive(Default)]
struct Pending {
    status: Vec<oneshot::Sender<Status>>,
    settled: Vec<(NodeId, Instant, oneshot::Sender<Option<NodeStatus>>)>,
    knocks: Vec<Knock>,
    epoch: bool,
    /// Members whose record is being changed.
    members: BTreeSet<NodeId>,
    /// Apps that are being deleted.
    apps: BTreeSet<AppName>,
}

/// A round of dials that somebody waits for.
struct Knock {
    unanswered: BTreeSet<NodeId>,
    until: Instant,
    reply: oneshot::Sender<()>,
}

impl Control {
    /// Runs until `end`.
    pub async fn run(mut self, end: CancellationToken) {
        let mut pending = Pending::default();
        let period = Duration::from_millis(self.state.settings.tick_ms);
        // The first at once: the gateway waits for a table.
        let mut tick_at = Instant::now();
        let mut is_fresh = false;
        loop {
            let first = tokio::select! {
                biased;
                () = end.cancelled() => return,
                message = self.inbox.recv() => message,
                _ = self.desired.changed() => {
                    is_fresh = true;
                    None
                }
                () = tokio::time::sleep_until(tick_at) => None,
            };
            if let Some(message) = first {
                self.take(message, &mut pending);
            }
            for _ in 1..BATCH {
                let Ok(message) = self.inbox.try_recv() else { break };
                self.take(message, &mut pending);
            }
            // Behind the messages: whoever wrote to the store before they asked sees what they wrote.
            if is_fresh || self.desired.has_changed().unwrap_or(false) {
                is_fresh = false;
                self.read_store();
            }
            // Behind all other input, and before the decision: after a sleep, nobody is judged by the silence of the sleeper.
            if Instant::now() >= tick_at {
                self.state.observe(Event::Tick, self.clock.now());
                tick_at = Instant::now() + period;
            }
            let effects = self.state.decide(self.clock.now(), &mut UuidSource);
            self.carry_out(effects, &mut pending);
            self.answer(&mut pending);
        }
    }

    fn take(&mut self, message: Message, pending: &mut Pending) {
        match message {
            Message::Event(event) => {
                if let Event::DialFailed { node, .. } | Event::Line { node, .. } = &*event {
                    for knock in &mut pending.knocks {
                        knock.unanswered.remove(node);
                    }
                }
                self.state.observe(*event, self.clock.now());
            }
            Message::Status(reply) => pending.status.push(reply),
            Message::Settled(node, reply) => {
                self.links.dial_now(node);
                pending.settled.push((node, Instant::now() + SETTLE, reply));
            }
            Message::Knock(reply) => {
                let unanswered = self.state.unheard();
                unanswered.iter().for_each(|node| self.links.dial_now(*node));
                pending.knocks.push(Knock { unanswered, until: Instant::now() + KNOCK, reply });
            }
            Message::LinksFor(replica, reply) => {
                let of = self.link_of(replica);
                let _ = reply.send(of.map_or_else(|| LinksFor::Any(self.links.all()), LinksFor::One));
            }
            Message::Stored(StoreWork::Epoch) => pending.epoch = false,
            Message::Stored(StoreWork::Apps(gone)) => pending.apps.retain(|app| !gone.contains(app)),
            Message::Stored(StoreWork::Members { forget, taken_over }) => {
                pending.members.retain(|member| !forget.contains(member) && !taken_over.contains(member));
            }
        }
    }

    fn link_of(&self, replica: ReplicaId) -> Option<Arc<dyn Link>> {
        let seen = self.state.nodes.values().find(|node| node.observed.contains_key(&replica)).map(|node| node.member.id);
        let node = seen.or_else(|| self.state.slots.get(&replica).map(|slot| slot.node))?;
        self.links.get(node)
    }

    /// Takes in what the store has. The first time, before any call is served: the members of that moment may run something.
    pub fn read_store(&mut self) {
        let wanted = Arc::clone(&self.desired.borrow_and_update());
        let apps = wanted.apps.values().cloned().collect();
        let members = wanted.members.values().cloned().collect();
        self.state.observe(Event::Desired { apps, members }, self.clock.now());
        self.links.follow(&wanted.members);
    }

    fn carry_out(&mut self, effects: Effects, pending: &mut Pending) {
        for story in effects.story {
            if story.warn {
                tracing::warn!("{}", story.text);
            } else {
                tracing::info!("{}", story.text);
            }
        }
        for (node, assignment) in effects.assignments {
            self.links.assign(node, assignment);
        }
        for (node, endpoints) in effects.endpoints {
            self.links.tell_endpoints(node, endpoints);
        }
        let gone = |node: NodeId| self.state.nodes.get(&node).is_none_or(cluster::node::Node::is_gone);
        self.publisher.publish(effects.routes, self.state.acks.get(GATEWAY), gone);
        if let Some(at_least) = effects.raise_epoch_at_least
            && !pending.epoch
        {
            pending.epoch = true;
            let (store, queue) = (Arc::clone(&self.store), self.handle.events());
            self.tasks.spawn(raise_epoch(store, at_least, queue));
        }
        let gone: Vec<AppName> = effects.forget_apps.into_iter().filter(|app| pending.apps.insert(app.clone())).collect();
        if !gone.is_empty() {
            self.tasks.spawn(delete_apps(Arc::clone(&self.store), gone, self.handle.events()));
        }
        let mut unchanged = |nodes: Vec<NodeId>| nodes.into_iter().filter(|node| pending.members.insert(*node)).collect::<Vec<_>>();
        let (forget, taken_over) = (unchanged(effects.forget), unchanged(effects.taken_over));
        if !forget.is_empty() || !taken_over.is_empty() {
            let (store, queue) = (Arc::clone(&self.store), self.handle.events());
            self.tasks.spawn(change_members(store, forget, taken_over, queue));
        }
    }

    fn answer(&self, pending: &mut Pending) {
        if !pending.status.is_empty() {
            let status = self.state.status(self.clock.now());
            for reply in pending.status.drain(..) {
                let _ = reply.send(status.clone());
            }
        }
        let is_over = |knock: &mut Knock| knock.unanswered.is_empty() || Instant::now() >= knock.until;
        for knock in pending.knocks.extract_if(.., is_over) {
            let _ = knock.reply.send(());
        }
        if pending.settled.is_empty() {
            return;
        }
        let now = self.clock.now();
        let waiting = std::mem::take(&mut pending.settled);
        for (node, until, reply) in waiting {
            let status = self.state.node_status(node, now);
            let is_settled = status.as_ref().is_none_or(|node| node.state != NodeState::Connecting);
            if is_settled || Instant::now() >= until {
                let _ = reply.send(status);
            } else {
                pending.settled.push((node, until, reply));
            }
        }
    }
}

async fn raise_epoch(store: Arc<dyn Store>, at_least: u64, queue: mpsc::Sender<Message>) {
    match store.next_epoch(at_least).await {
        Ok(epoch) => {
            let _ = queue.send(Event::EpochRaised(epoch).into()).await;
        }
        Err(error) => {
            tracing::error!("nothing can be assigned: the epoch cannot be raised: {error}");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
    let _ = queue.send(Message::Stored(StoreWork::Epoch)).await;
}

async fn delete_apps(store: Arc<dyn Store>, gone: Vec<AppName>, queue: mpsc::Sender<Message>) {
    let outcome = store::update(&*store, |desired| {
        // One that is wanted again in the meantime stays.
        let is_tombstone = |name: &&AppName| desired.apps.get(name).is_some_and(|app| app.deleted);
        let delete_apps = gone.iter().filter(is_tombstone).cloned().collect();
        Ok::<_, store::Error>((Change { delete_apps, ..Change::default() }, ()))
    });
    match outcome.await {
        Ok(()) => gone.iter().for_each(|name| tracing::info!("{name} is deleted: nothing of it runs any more")),
        Err(error) => {
            tracing::error!("apps that were deleted cannot be taken out of the store: {error}");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
    let _ = queue.send(Message::Stored(StoreWork::Apps(gone))).await;
}

async fn change_members(store: Arc<dyn Store>, forget: Vec<NodeId>, taken_over: Vec<NodeId>, queue: mpsc::Sender<Message>) {
    let outcome = store::update(&*store, |desired| {
        // One that was added again in the meantime stays.
        let is_tombstone = |id: &&NodeId| desired.members.get(id).is_some_and(|member| member.removed);
        let delete_members = forget.iter().filter(is_tombstone).copied().collect();
        let spent = taken_over.iter().filter_map(|id| desired.members.get(id)).filter(|member| member.take_over);
        let put_members = spent.map(|member| Member { take_over: false, ..member.clone() }).collect();
        Ok::<_, store::Error>((Change { delete_members, put_members, ..Change::default() }, ()))
    });
    if let Err(error) = outcome.await {
        tracing::error!("the records of nodes that were removed or taken over cannot be changed: {error}");
        tokio::time::sleep(STORE_RETRY).await;
    }
    let _ = queue.send(Message::Stored(StoreWork::Members { forget, taken_over })).await;
}
