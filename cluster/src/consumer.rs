//! Who sends requests by a routing table, and whether anybody may still send one to a replica: whom an ordered stop waits for.
//!
//! Two kinds of consumers: gateways, which say themselves what they acknowledged, and the balancers of agents, which work by endpoints. A node
//! that is lost, has left or obeys another cluster is waited for no more. Absent from here: the deadline, which ends every wait (`plan`).

use std::collections::{BTreeMap, BTreeSet};

use crate::app::AppName;
use crate::endpoints::{Acknowledged, Endpoints, SentEndpoints, target};
use crate::id::{NodeId, ReplicaId};
use crate::liveness::Contact;
use crate::node::Node;
use crate::now::Now;
use crate::route::AppRoutes;
use crate::state::ClusterState;
use crate::wire::Stamp;

/// Endpoints that were not acknowledged are sent again after so long, in milliseconds.
const RESEND_MS: u64 = 500;

impl ClusterState {
    /// Whether no consumer sends requests to this replica of `app` any more, which the table has lacked since version `left_in`.
    #[must_use]
    pub fn is_quiet(&self, replica: ReplicaId, app: &AppName, left_in: u64) -> bool {
        let has_left = |ack: &crate::route::RouteAck| ack.version >= left_in && ack.in_flight.keys().all(|key| key.replica != replica);
        let is_used = || {
            self.apps.values().any(|other| std::iter::once(&other.spec).chain(other.earlier.values()).any(|spec| spec.uses.contains(app)))
        };
        self.acks.values().all(has_left)
            && self.nodes.values().all(|node| {
                // Before its first report it may work by anything that an earlier controller told it.
                let may_hold = if node.awaited { is_used() } else { node.may_send_to(replica, self.epoch, left_in) };
                node.is_gone() || !node.is_ours() || !may_hold
            })
    }

    /// The endpoints of each node that is to hear them now. What was acknowledged is not sent again: each stream of observations begins with
    /// what its agent has.
    pub(crate) fn endpoints(&mut self, now: Now) -> Vec<(NodeId, Endpoints)> {
        if self.superseded_by.is_some() {
            return vec![];
        }
        let mut uses: BTreeMap<NodeId, BTreeSet<AppName>> = BTreeMap::new();
        for slot in self.slots.values() {
            let used = self.apps.get(&slot.app).map(|app| &app.spec_of(slot.revision).uses).filter(|used| !used.is_empty());
            if let Some(used) = used {
                uses.entry(slot.node).or_default().extend(used.iter().cloned());
            }
        }
        let mut out = Vec::new();
        let mut all: Vec<NodeId> = self.nodes.keys().copied().collect();
        all.retain(|id| self.nodes.get(id).is_some_and(|node| node.takes_endpoints(uses.contains_key(id))));
        for id in all {
            let uses = uses.remove(&id).unwrap_or_default();
            let fits = |sent: &SentEndpoints| {
                sent.endpoints.stamp.epoch == self.epoch && sent.fits_version == self.table.version && sent.uses == uses
            };
            let is_settled = self.nodes.get(&id).and_then(|node| node.endpoints.as_ref()).is_some_and(fits);
            let apps = if is_settled { None } else { Some(self.routes_from(id, &uses)) };
            let gone = || self.nodes.values().filter(|node| node.is_gone()).map(|node| node.member.id).collect();
            let gone: BTreeSet<NodeId> = if is_settled { BTreeSet::new() } else { gone() };
            let (cluster, epoch, version) = (self.cluster, self.epoch, self.table.version);
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            match (&mut node.endpoints, apps) {
                (Some(sent), None) => {
                    let is_held = node.acknowledged.as_ref().is_some_and(|ack| ack.stamp == sent.endpoints.stamp);
                    if !is_held && now.since_ms(sent.at_ms) >= RESEND_MS {
                        sent.at_ms = now.mono_ms;
                        out.push((id, sent.endpoints.clone()));
                    }
                }
                (Some(sent), Some(apps)) if sent.endpoints.stamp.epoch == epoch && sent.endpoints.apps == apps => {
                    sent.uses = uses;
                    sent.fits_version = version;
                }
                (_, apps) => {
                    // After a reconnection the agent may have later ones than were counted here.
                    let seen = node.acknowledged.as_ref().filter(|ack| ack.stamp.epoch == epoch).map_or(0, |ack| ack.stamp.generation);
                    node.endpoints_generation = node.endpoints_generation.max(seen).saturating_add(1);
                    let stamp = Stamp { epoch, generation: node.endpoints_generation };
                    let endpoints = Endpoints { cluster, stamp, version, apps: apps.unwrap_or_default(), gone };
                    out.push((id, endpoints.clone()));
                    node.endpoints = Some(SentEndpoints { endpoints, uses, fits_version: version, at_ms: now.mono_ms });
                }
            }
        }
        out
    }

    /// The routes of these apps as they are called from a node.
    fn routes_from(&self, from: NodeId, uses: &BTreeSet<AppName>) -> BTreeMap<AppName, AppRoutes> {
        let Some(here) = self.nodes.get(&from) else { return BTreeMap::new() };
        let known = uses.iter().filter_map(|name| self.table.apps.get_key_value(name));
        let seen_from_here = |app: &AppRoutes| {
            let mut app = app.clone();
            app.replicas.retain_mut(|route| {
                let there = self.nodes.get(&route.node);
                let port = there.and_then(|node| node.observed.get(&route.key.replica)).and_then(|seen| seen.report.port);
                let target = there.zip(port).and_then(|(there, port)| target(here, there, port));
                target.map(|target| route.target = target).is_some()
            });
            app
        };
        known.map(|(name, app)| (name.clone(), seen_from_here(app))).collect()
    }
}

impl Node {
    /// It is told endpoints: it can be told, and needs some or may have some.
    fn takes_endpoints(&self, needs_some: bool) -> bool {
        let is_heard = matches!(self.contact, Contact::Up { .. }) && self.reported && self.is_ours();
        is_heard && (needs_some || self.endpoints.is_some() || self.acknowledged.is_some())
    }

    /// Whether its balancer may send a request to this replica, or has one under way there.
    fn may_send_to(&self, replica: ReplicaId, epoch: u64, left_in: u64) -> bool {
        let acknowledged = self.acknowledged.as_ref();
        if acknowledged.is_some_and(|ack| ack.in_flight.iter().any(|under_way| under_way.key.replica == replica)) {
            return true;
        }
        let ours = acknowledged.filter(|ack| ack.stamp.epoch == epoch);
        match &self.endpoints {
            Some(sent) => {
                let has_it = sent.endpoints.apps.values().flat_map(|app| &app.replicas).any(|route| route.key.replica == replica);
                // Where the endpoints did not change with the table, the stamp tells; where they changed again since, the version does.
                let is_past = |ack: &Acknowledged| ack.stamp >= sent.endpoints.stamp || ack.version >= left_in;
                has_it || !ours.is_some_and(is_past)
            }
            None => acknowledged.is_some() && ours.is_none_or(|ack| ack.version < left_in),
        }
    }
}
