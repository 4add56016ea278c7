//! The links to all members, and the tasks that use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::Member;
use cluster::NodeId;
use cluster::endpoints::Endpoints;
use cluster::wire::Assignment;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Dialer, Link, dial};
use crate::control::Message;

/// All links. Owned by the control task.
pub struct Links {
    dialer: Arc<dyn Dialer>,
    events: mpsc::Sender<Message>,
    tasks: TaskTracker,
    end: CancellationToken,
    nodes: BTreeMap<NodeId, Running>,
}

struct Running {
    link: Arc<dyn Link>,
    assignments: watch::Sender<Option<Arc<Assignment>>>,
    endpoints: watch::Sender<Option<Arc<Endpoints>>>,
    dial_now: Arc<Notify>,
    end: CancellationToken,
}

impl Links {
    /// No links yet. What they report goes to `events`; their tasks belong to `tasks` and end with `end`.
    pub fn new(dialer: Arc<dyn Dialer>, events: mpsc::Sender<Message>, tasks: TaskTracker, end: CancellationToken) -> Self {
        Links { dialer, events, tasks, end, nodes: BTreeMap::new() }
    }

    /// Starts the tasks of new members, and ends those of members that are gone.
    pub fn follow(&mut self, members: &BTreeMap<NodeId, Member>) {
        self.nodes.retain(|id, running| {
            let stays = members.contains_key(id);
            if !stays {
                running.end.cancel();
            }
            stays
        });
        for (id, member) in members {
            if !self.nodes.contains_key(id) {
                let running = self.start(member);
                self.nodes.insert(*id, running);
            }
        }
    }

    fn start(&self, member: &Member) -> Running {
        let link = self.dialer.link(&member.url);
        let (assignments, latest) = watch::channel(None);
        let (endpoints, latest_endpoints) = watch::channel(None);
        let dial_now = Arc::new(Notify::new());
        let end = self.end.child_token();
        let observing = dial::observe(member.id, Arc::clone(&link), self.events.clone(), Arc::clone(&dial_now));
        let assigning = dial::assign(member.id, Arc::clone(&link), self.events.clone(), latest);
        let telling = dial::tell_endpoints(member.id, Arc::clone(&link), latest_endpoints);
        let (first, second, third) = (end.clone(), end.clone(), end.clone());
        self.tasks.spawn(async move { first.run_until_cancelled(observing).await });
        self.tasks.spawn(async move { second.run_until_cancelled(assigning).await });
        self.tasks.spawn(async move { third.run_until_cancelled(telling).await });
        Running { link, assignments, endpoints, dial_now, end }
    }

    /// Sends a node its assignment, in place of one that was not sent yet.
    pub fn assign(&self, node: NodeId, assignment: Assignment) {
        if let Some(running) = self.nodes.get(&node) {
            running.assignments.send_replace(Some(Arc::new(assignment)));
        }
    }

    /// Sends a node its endpoints, in place of others that were not sent yet.
    pub fn tell_endpoints(&self, node: NodeId, endpoints: Endpoints) {
        if let Some(running) = self.nodes.get(&node) {
            running.endpoints.send_replace(Some(Arc::new(endpoints)));
        }
    }

    /// Dials a node at once if it is waited for.
    pub fn dial_now(&self, node: NodeId) {
        if let Some(running) = self.nodes.get(&node) {
            running.dial_now.notify_waiters();
        }
    }

    /// The links to all nodes.
    pub fn all(&self) -> Vec<Arc<dyn Link>> {
        self.nodes.values().map(|running| Arc::clone(&running.link)).collect()
    }

    /// The link to a node.
    pub fn get(&self, node: NodeId) -> Option<Arc<dyn Link>> {
        self.nodes.get(&node).map(|running| Arc::clone(&running.link))
    }
}
