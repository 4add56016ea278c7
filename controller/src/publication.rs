//! From the control task to those who hold a routing table: the latest one, and which routes are dead.
//!
//! Latest wins, so nobody can hold up the control task. What must not be overwritten, the routes whose node is gone, is
//! gathered until it is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use cluster::NodeId;
use cluster::route::{RouteAck, RouteKey, RoutingTable};
use tokio::sync::watch;

/// What is published.
#[derive(Clone, Debug, Default)]
struct Publication {
    table: Arc<RoutingTable>,
    dead: BTreeSet<RouteKey>,
}

/// The control task's end.
pub struct Publisher {
    shared: Arc<watch::Sender<Publication>>,
    tables: watch::Sender<Arc<RoutingTable>>,
    /// Routes on which requests may be under way, and whose node is not gone.
    routes: BTreeMap<RouteKey, Known>,
}

struct Known {
    node: NodeId,
    /// The first version of the table that does not have it.
    left_in: Option<u64>,
}

/// The gateway's end.
pub struct Subscriber {
    shared: Weak<watch::Sender<Publication>>,
    changes: watch::Receiver<Publication>,
}

/// Makes the two ends.
#[must_use]
pub fn channel() -> (Publisher, Subscriber) {
    let (shared, changes) = watch::channel(Publication::default());
    let shared = Arc::new(shared);
    let subscriber = Subscriber { shared: Arc::downgrade(&shared), changes };
    (Publisher { shared, tables: watch::Sender::new(Arc::default()), routes: BTreeMap::new() }, subscriber)
}

impl Publisher {
    /// All tables, for those who only read along.
    #[must_use]
    pub fn tables(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.tables.subscribe()
    }

    /// Publishes a table, if there is a new one, and the routes on nodes that are gone. `ack`: what the gateway acknowledged last.
    pub fn publish(&mut self, table: Option<RoutingTable>, ack: Option<&RouteAck>, gone: impl Fn(NodeId) -> bool) {
        let table = table.map(Arc::new);
        if let Some(table) = &table {
            let live: BTreeSet<RouteKey> = table.routes().map(|(_, route)| route.key).collect();
            self.routes.retain(|key, known| {
                if live.contains(key) {
                    return true;
                }
                // A route that left the table is of interest until its last request has ended.
                let left_in = *known.left_in.get_or_insert(table.version);
                !ack.is_some_and(|ack| ack.version >= left_in && !ack.in_flight.contains_key(key))
            });
            self.routes.extend(table.routes().map(|(_, route)| (route.key, Known { node: route.node, left_in: None })));
        }
        let dead: Vec<RouteKey> = self.routes.extract_if(.., |_, known| gone(known.node)).map(|(key, _)| key).collect();
        if table.is_none() && dead.is_empty() {
            return;
        }
        self.shared.send_modify(|publication| {
            publication.dead.extend(dead);
            if let Some(table) = &table {
                publication.table = Arc::clone(table);
            }
        });
        if let Some(table) = table {
            self.tables.send_replace(table);
        }
    }
}

impl Subscriber {
    /// The next table and the routes that died since the last call; `None` when the control task has ended.
    pub async fn next(&mut self) -> Option<(Arc<RoutingTable>, Vec<RouteKey>)> {
        self.changes.changed().await.ok()?;
        self.changes.borrow_and_update();
        let mut next = None;
        self.shared.upgrade()?.send_if_modified(|publication| {
            let dead = std::mem::take(&mut publication.dead).into_iter().collect();
            next = Some((Arc::clone(&publication.table), dead));
            false
        });
        next
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cluster::route::{AppRoutes, Route, Target};
    use cluster::{AppName, ReplicaId};

    use super::*;

    fn table(version: u64, replicas: &[u128]) -> RoutingTable {
        let route = |id: &u128| Route {
            key: RouteKey { replica: ReplicaId(*id), attempt: 1 },
            node: NodeId(*id),
            target: Target::Loopback(1),
            last_choice: false,
            age_ms: 0,
        };
        let routes = AppRoutes { desired: 1, replicas: replicas.iter().map(route).collect(), ..AppRoutes::default() };
        RoutingTable { epoch: 1, version, fallback: None, apps: [(AppName::builtin(), routes)].into() }
    }

    fn key(id: u128) -> RouteKey {
        RouteKey { replica: ReplicaId(id), attempt: 1 }
    }

    #[tokio::test]
    async fn the_latest_table_wins_and_no_dead_route_is_lost() {
        let (mut publisher, mut subscriber) = channel();
        publisher.publish(Some(table(1, &[1, 2, 3])), None, |_| false);
        publisher.publish(Some(table(2, &[2, 3])), None, |node| node == NodeId(1));
        publisher.publish(Some(table(3, &[3])), None, |node| node.0 <= 2);
        let (latest, dead) = subscriber.next().await.unwrap();
        assert_eq!((latest.version, dead), (3, vec![key(1), key(2)]));
        drop(publisher);
        assert!(subscriber.next().await.is_none());
    }

    #[tokio::test]
    async fn a_route_that_drains_is_dead_when_its_node_goes() {
        let (mut publisher, mut subscriber) = channel();
        publisher.publish(Some(table(1, &[1, 2])), None, |_| false);
        publisher.publish(Some(table(2, &[2])), None, |_| false);
        let busy = RouteAck { version: 2, in_flight: [(key(1), 4)].into() };
        publisher.publish(Some(table(3, &[2])), Some(&busy), |_| false);
        subscriber.next().await.unwrap();
        publisher.publish(None, Some(&busy), |node| node == NodeId(1));
        assert_eq!(subscriber.next().await.unwrap().1, [key(1)]);
    }

    #[tokio::test]
    async fn a_route_without_requests_is_forgotten() {
        let (mut publisher, _subscriber) = channel();
        publisher.publish(Some(table(1, &[1, 2])), None, |_| false);
        publisher.publish(Some(table(2, &[2])), None, |_| false);
        publisher.publish(Some(table(3, &[2])), Some(&RouteAck { version: 2, in_flight: BTreeMap::new() }), |_| false);
        assert_eq!(publisher.routes.keys().copied().collect::<Vec<_>>(), [key(2)]);
    }
}
