//! The routing table as one gateway thread works by it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster::app::AppName;
use cluster::route::{RouteKey, RoutingTable};

use crate::ack::ThreadAck;
use crate::inbox::Published;
use crate::replica::Replica;

/// One version of the table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    source: Arc<RoutingTable>,
    apps: BTreeMap<AppName, Rc<App>>,
    replicas: BTreeMap<RouteKey, Rc<Replica>>,
    has_come: bool,
}

/// One app of a table.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: AppName,
    pub(crate) desired: u32,
    /// Counts the requests of the app, over all threads and tables: so round-robin is exact.
    turn: Arc<AtomicUsize>,
    /// Those to choose from, in the table's order.
    ready: Vec<Rc<Replica>>,
    /// Those for when there is nothing else.
    last_choice: Vec<Rc<Replica>>,
}

impl Table {
    /// The table that follows `before`. A replica that stays keeps its connections and its count; one that left is retired. Returned
    /// beside it: all replicas that left and still have requests in flight, of which `retired` are the earlier ones.
    pub(crate) fn build(published: &Published, before: &Table, retired: &[Rc<Replica>], ack: &Arc<ThreadAck>) -> (Self, Vec<Rc<Replica>>) {
        let known: BTreeMap<RouteKey, &Rc<Replica>> =
            retired.iter().chain(before.replicas.values()).map(|replica| (replica.key, replica)).collect();
        let mut table = Table { source: Arc::clone(&published.table), apps: BTreeMap::new(), replicas: BTreeMap::new(), has_come: true };
        for (name, routes) in &published.table.apps {
            let mut app = App {
                name: name.clone(),
                desired: routes.desired,
                turn: published.turns.get(name).cloned().unwrap_or_default(),
                ready: Vec::new(),
                last_choice: Vec::new(),
            };
            for route in &routes.replicas {
                let replica = match known.get(&route.key) {
                    Some(replica) if replica.target == route.target && replica.protocol == routes.protocol => Rc::clone(replica),
                    _ => Replica::new(route, routes.protocol, Arc::clone(ack)),
                };
                replica.enlist(Duration::from_millis(routes.keepalive_idle_ms));
                if route.last_choice { &mut app.last_choice } else { &mut app.ready }.push(Rc::clone(&replica));
                table.replicas.insert(route.key, replica);
            }
            table.apps.insert(name.clone(), Rc::new(app));
        }
        let mut left = Vec::new();
        for replica in retired.iter().chain(before.replicas.values()) {
            if !table.replicas.get(&replica.key).is_some_and(|stays| Rc::ptr_eq(stays, replica)) {
                replica.retire();
                if replica.in_flight() > 0 {
                    left.push(Rc::clone(replica));
                }
            }
        }
        (table, left)
    }

    /// The version that this is.
    pub(crate) fn version(&self) -> u64 {
        self.source.version
    }

    /// The app that a request belongs to.
    pub(crate) fn app_for(&self, host: &str, path: &str) -> Option<&Rc<App>> {
        self.source.app_for(host, path).and_then(|(name, _)| self.apps.get(name))
    }

    /// Whether anybody has published it: `false` for the empty one that a thread begins with.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come
    }

    /// Whether there is no app at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// All replicas of all apps.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Rc<Replica>> {
        self.replicas.values()
    }
}

impl App {
    /// The replica whose turn it is, of those that are not in `tried`. `None`: there is no other.
    pub(crate) fn pick(&self, tried: &[Rc<Replica>]) -> Option<Rc<Replica>> {
        if tried.is_empty() {
            let from = if self.ready.is_empty() { &self.last_choice } else { &self.ready };
            if from.is_empty() {
                return None;
            }
            return Some(Rc::clone(&from[self.turn.fetch_add(1, Ordering::Relaxed) % from.len()]));
        }
        // A second choice: spread over the others, without taking a turn from anyone. On another node if there is one: what ended the
        // first may have ended all on its node.
        let turn = self.turn.load(Ordering::Relaxed);
        let is_tried = |replica: &Replica| tried.iter().any(|tried| tried.key == replica.key);
        let is_near = |replica: &Replica| tried.iter().any(|tried| tried.node == replica.node);
        [(&self.ready, false), (&self.ready, true), (&self.last_choice, false), (&self.last_choice, true)].into_iter().find_map(
            |(from, near)| {
                let fitting: Vec<&Rc<Replica>> = from.iter().filter(|replica| is_near(replica) == near && !is_tried(replica)).collect();
                if fitting.is_empty() { None } else { Some(Rc::clone(fitting[(turn / from.len()) % fitting.len()])) }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cluster::id::{NodeId, ReplicaId};
    use cluster::route::{AppRoutes, Protocol, Route, Target};
    use tokio::sync::Notify;

    use super::*;

    fn key(n: u128) -> RouteKey {
        RouteKey { replica: ReplicaId(n), attempt: 1 }
    }

    fn published(turns: &BTreeMap<AppName, Arc<AtomicUsize>>, replicas: &[(u128, bool)]) -> Published {
        let route = |&(n, last_choice): &(u128, bool)| Route { key: key(n), node: NodeId(1), target: Target::Loopback(1), last_choice };
        let routes =
            AppRoutes { desired: 4, keepalive_idle_ms: 4_000, protocol: Protocol::Http1, replicas: replicas.iter().map(route).collect() };
        let table = RoutingTable {
            version: 1,
            fallback: Some(AppName::builtin()),
            apps: BTreeMap::from([(AppName::builtin(), routes)]),
            ..RoutingTable::default()
        };
        Published { table: Arc::new(table), turns: turns.clone() }
    }

    fn tried(table: &Table, replicas: &[u128]) -> Vec<Rc<Replica>> {
        replicas.iter().map(|n| Rc::clone(&table.replicas[&key(*n)])).collect()
    }

    fn picks(table: &Table, count: usize, tried: &[Rc<Replica>]) -> Vec<u128> {
        let app = table.app_for("", "/").unwrap();
        (0..count).map(|_| app.pick(tried).unwrap().key.replica.0).collect()
    }

    #[test]
    fn turns_go_round_exactly_and_go_on_with_the_next_table() {
        let turns = BTreeMap::from([(AppName::builtin(), Arc::default())]);
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (first, _) = Table::build(&published(&turns, &[(1, false), (2, false), (3, false)]), &Table::default(), &[], &ack);
        assert_eq!(picks(&first, 4, &[]), [1, 2, 3, 1]);
        let (second, left) = Table::build(&published(&turns, &[(1, false), (2, false)]), &first, &[], &ack);
        assert!(left.is_empty());
        assert_eq!(picks(&second, 3, &[]), [1, 2, 1]);
        assert!(Rc::ptr_eq(&first.replicas[&key(1)], &second.replicas[&key(1)]));
        assert!(first.replicas[&key(3)].is_retired());
    }

    #[test]
    fn a_last_choice_is_used_only_when_there_is_no_other() {
        let turns = BTreeMap::new();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (table, _) = Table::build(&published(&turns, &[(1, true), (2, false)]), &Table::default(), &[], &ack);
        assert_eq!(picks(&table, 3, &[]), [2, 2, 2]);
        assert_eq!(picks(&table, 1, &tried(&table, &[2])), [1]);
        assert!(table.app_for("", "/").unwrap().pick(&tried(&table, &[1, 2])).is_none());
        let (table, _) = Table::build(&published(&turns, &[(1, true)]), &table, &[], &ack);
        assert_eq!(picks(&table, 1, &[]), [1]);
    }

    #[test]
    fn second_choices_spread_over_all_others() {
        let turns = BTreeMap::new();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let replicas = [(1, false), (2, false), (3, false), (4, false)];
        let (table, _) = Table::build(&published(&turns, &replicas), &Table::default(), &[], &ack);
        let app = table.app_for("", "/").unwrap();
        let mut counts = BTreeMap::new();
        for _ in 0..120 {
            let first = app.pick(&[]).unwrap();
            if first.key == key(2) {
                *counts.entry(app.pick(&[first]).unwrap().key.replica.0).or_insert(0) += 1;
            }
        }
        assert_eq!(counts, BTreeMap::from([(1, 10), (3, 10), (4, 10)]));
    }

    #[test]
    fn a_second_choice_is_on_another_node_if_there_is_one() {
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let mut published = published(&BTreeMap::new(), &[(1, false), (2, false), (3, false), (4, true)]);
        let routes = Arc::make_mut(&mut published.table).apps.get_mut(&AppName::builtin()).unwrap();
        routes.replicas.iter_mut().for_each(|route| route.node = NodeId(route.key.replica.0 / 2));
        let (table, _) = Table::build(&published, &Table::default(), &[], &ack);
        assert_eq!(picks(&table, 2, &tried(&table, &[2])), [1, 1]);
        assert_eq!(picks(&table, 2, &tried(&table, &[1, 2])), [3, 3]);
        assert_eq!(picks(&table, 1, &tried(&table, &[1, 2, 3])), [4]);
    }

    #[test]
    fn a_replica_that_left_is_counted_until_its_last_request_ends() {
        let turns = BTreeMap::new();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (first, _) = Table::build(&published(&turns, &[(1, false)]), &Table::default(), &[], &ack);
        let request = crate::replica::InFlight::new(first.app_for("", "/").unwrap().pick(&[]).unwrap());
        let (second, left) = Table::build(&published(&turns, &[]), &first, &[], &ack);
        assert_eq!(left.len(), 1);
        // It is still there in the version after, and forgotten once it is idle.
        let (third, left) = Table::build(&published(&turns, &[]), &second, &left, &ack);
        assert_eq!(left.len(), 1);
        drop(request);
        let (_, left) = Table::build(&published(&turns, &[]), &third, &left, &ack);
        assert!(left.is_empty());
    }
}
