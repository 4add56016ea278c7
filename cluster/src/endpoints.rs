//! The routes that the replicas of one node may call: what the balancer of its agent works by, and what that acknowledged.
//!
//! An agent gets the whole of it in one call, stamped like an assignment, for the apps that its replicas name in `uses`. What was
//! acknowledged comes back in its stream of observations. Absent from here: whom an ordered stop waits for (`consumer`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::app::AppName;
use crate::fence::{Held, Refusal, Verdict};
use crate::id::{ClusterId, NodeId};
use crate::node::Node;
use crate::route::{AppRoutes, RouteAck, RouteKey, Target};
use crate::wire::Stamp;

/// The body of `PUT /v1/endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The cluster that speaks.
    pub cluster: ClusterId,
    /// Which endpoints these are: the later ones have the greater stamp. Counted by themselves, not with the assignments.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// The version of the routing table, within the epoch, that they were made from.
    pub version: u64,
    /// The apps that are used and exist.
    pub apps: BTreeMap<AppName, AppRoutes>,
    /// Nodes that are gone: requests that wait on a replica there are sent elsewhere where they may be.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<NodeId>,
}

/// What an agent's balancer works by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// No request starts by older endpoints any more.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// The version of the routing table that those were made from.
    pub version: u64,
    /// Requests that are still under way on routes that these endpoints no longer have; only those above 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<InFlight>,
}

/// Requests under way on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Which route.
    #[serde(flatten)]
    pub key: RouteKey,
    /// How many.
    pub requests: u64,
}

impl Acknowledged {
    /// What a balancer says that works by the endpoints of this stamp and version.
    #[must_use]
    pub fn new(stamp: Stamp, version: u64, ack: &RouteAck) -> Self {
        let in_flight = ack.in_flight.iter().map(|(key, requests)| InFlight { key: *key, requests: *requests }).collect();
        Acknowledged { stamp, version, in_flight }
    }
}

/// Endpoints that were handed to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEndpoints {
    /// What.
    pub endpoints: Endpoints,
    /// The apps that the node's replicas use, those that do not exist too.
    pub uses: BTreeSet<AppName>,
    /// The version of the table that they still fit.
    pub fits_version: u64,
    /// When, in monotonic milliseconds.
    pub at_ms: u64,
}

/// What an agent has of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldEndpoints {
    /// Whose.
    pub cluster: ClusterId,
    /// Which.
    pub stamp: Stamp,
}

/// Judges endpoints. `assigned`: what the agent obeys, and `runs_anything` under it; `held`: the endpoints that it has.
///
/// # Errors
/// A [`Refusal`]: they are another cluster's, or older than what is there.
pub fn judge(assigned: Held, runs_anything: bool, held: Option<HeldEndpoints>, incoming: &Endpoints) -> Result<Verdict, Refusal> {
    let got = incoming.stamp;
    match assigned.cluster {
        Some(has) if has != incoming.cluster && runs_anything => return Err(Refusal::Foreign { got: incoming.cluster, has }),
        Some(has) if has == incoming.cluster => {
            // Only the epochs of the two can be compared.
            if let Some(has) = assigned.stamp.filter(|has| got.epoch < has.epoch) {
                return Err(Refusal::Older { got, has });
            }
        }
        _ => {}
    }
    match held.filter(|held| held.cluster == incoming.cluster) {
        Some(HeldEndpoints { stamp: has, .. }) if got < has => Err(Refusal::Older { got, has }),
        Some(HeldEndpoints { stamp: has, .. }) if got == has => Ok(Verdict::Renew),
        _ => Ok(Verdict::Apply),
    }
}

/// How a replica on `to`, at `port`, is reached from a replica on `from`. `None`: it is not, since only its own host can reach its agent.
#[must_use]
pub fn target(from: &Node, to: &Node, port: u16) -> Option<Target> {
    let (here, there) = (&from.member, &to.member);
    // Agents with loopback URLs are on one host: their controller's.
    if here.id == there.id || (here.url.is_loopback() && there.url.is_loopback()) {
        return Some(Target::Loopback(port));
    }
    (!there.url.is_loopback()).then(|| Target::Tunnel(there.url.authority()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::member::Member;

    fn endpoints(cluster: u128, epoch: u64, generation: u64) -> Endpoints {
        let stamp = Stamp { epoch, generation };
        Endpoints { cluster: ClusterId(cluster), stamp, version: 1, apps: BTreeMap::new(), gone: BTreeSet::new() }
    }

    fn node(id: u128, url: &str) -> Node {
        let url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        Node::new(Member::new(NodeId(id), url), false)
    }

    proptest! {
        #[test]
        fn older_or_foreign_endpoints_never_win(calls in prop::collection::vec((0u128..3, 0u64..4, 0u64..4), 1..60)) {
            let assigned = Held { cluster: Some(ClusterId(1)), stamp: Some(Stamp { epoch: 2, generation: 9 }) };
            let mut held: Option<HeldEndpoints> = None;
            for (cluster, epoch, generation) in calls {
                let incoming = endpoints(cluster, epoch, generation);
                if judge(assigned, true, held, &incoming).is_ok() {
                    prop_assert_eq!(cluster, 1);
                    prop_assert!(epoch >= 2 && held.is_none_or(|held| held.stamp <= incoming.stamp));
                    held = Some(HeldEndpoints { cluster: incoming.cluster, stamp: incoming.stamp });
                }
            }
        }
    }

    #[test]
    fn an_agent_that_runs_nothing_takes_the_endpoints_of_any_cluster() {
        let assigned = Held { cluster: Some(ClusterId(1)), stamp: Some(Stamp { epoch: 9, generation: 9 }) };
        let held = HeldEndpoints { cluster: ClusterId(1), stamp: Stamp { epoch: 9, generation: 9 } };
        assert_eq!(judge(assigned, false, Some(held), &endpoints(2, 1, 1)), Ok(Verdict::Apply));
        assert_eq!(judge(Held::default(), false, None, &endpoints(2, 1, 1)), Ok(Verdict::Apply));
    }

    #[test]
    fn a_replica_is_reached_over_loopback_on_the_same_host_and_through_its_agent_on_another() {
        let (here, beside) = (node(1, "http://localhost:9091"), node(2, "http://127.0.0.1:9092"));
        let (one, other) = (node(3, "http://10.0.0.1:9091"), node(4, "http://10.0.0.2:9091"));
        assert_eq!(target(&here, &beside, 7), Some(Target::Loopback(7)));
        assert_eq!(target(&one, &one, 7), Some(Target::Loopback(7)));
        assert_eq!(target(&one, &other, 7), Some(Target::Tunnel("10.0.0.2:9091".to_owned())));
        assert_eq!(target(&here, &one, 7), Some(Target::Tunnel("10.0.0.1:9091".to_owned())));
        assert_eq!(target(&one, &here, 7), None);
    }

    #[test]
    fn what_was_acknowledged_is_plain_json() {
        let key = RouteKey { replica: crate::ReplicaId(1), attempt: 2 };
        let said = Acknowledged::new(Stamp { epoch: 1, generation: 2 }, 3, &RouteAck { version: 9, in_flight: [(key, 4)].into() });
        let text = serde_json::to_string(&said).unwrap_or_default();
        assert!(text.contains(r#""epoch":1,"generation":2,"version":3"#) && text.contains(r#""attempt":2,"requests":4"#), "{text}");
        assert_eq!(serde_json::from_str::<Acknowledged>(&text).ok(), Some(said));
    }
}
