//! The routing table as one gateway thread works by it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cluster::app::AppName;
use cluster::balance;
use cluster::route::RouteKey;
use cluster::router::{Router, Unrouted};
use cluster::traffic::{Balance, Traffic};

use crate::ack::ThreadAck;
use crate::config::{AppLimits, Limits};
use crate::inbox::Published;
use crate::ledger::AppLedger;
use crate::meters::AppMeters;
use crate::replica::Replica;

/// One version of the table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    version: u64,
    router: Arc<Router>,
    /// In the order of their names: by the router's numbers.
    apps: Vec<Rc<App>>,
    replicas: BTreeMap<RouteKey, Rc<Replica>>,
    has_come: bool,
}

/// One app of a table.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: AppName,
    pub(crate) desired: u32,
    /// How its requests are spread.
    pub(crate) traffic: Traffic,
    /// Its deadlines.
    pub(crate) limits: AppLimits,
    /// What all threads keep of it together.
    pub(crate) ledger: Arc<AppLedger>,
    /// What this thread counts of it.
    pub(crate) meters: Arc<AppMeters>,
    /// The number of this thread.
    thread: usize,
    dice: Cell<u64>,
    /// Those to choose from, in the table's order.
    ready: Vec<Rc<Replica>>,
    /// Those for when there is nothing else.
    last_choice: Vec<Rc<Replica>>,
}

impl Table {
    /// The table that follows `before`. A replica that stays keeps its connections and its count; one that left is retired. Returned
    /// beside it: all replicas that left and still have requests in flight, of which `retired` are the earlier ones. `thread`: the number of
    /// this one.
    pub(crate) fn build(
        published: &Published,
        before: &Table,
        retired: &[Rc<Replica>],
        thread: usize,
        limits: &Limits,
        ack: &Arc<ThreadAck>,
    ) -> (Self, Vec<Rc<Replica>>) {
        let known: BTreeMap<RouteKey, &Rc<Replica>> =
            retired.iter().chain(before.replicas.values()).map(|replica| (replica.key, replica)).collect();
        let mut table = Table {
            version: published.table.version,
            router: Arc::clone(&published.router),
            apps: Vec::with_capacity(published.table.apps.len()),
            replicas: BTreeMap::new(),
            has_come: true,
        };
        for ((name, routes), ledger) in published.table.apps.iter().zip(&published.ledgers) {
            let mut app = App {
                name: name.clone(),
                desired: routes.desired,
                traffic: routes.traffic.clone(),
                limits: AppLimits::new(limits, &routes.deadlines),
                ledger: Arc::clone(ledger),
                meters: ledger.meters(thread),
                thread,
                dice: Cell::new(RandomState::new().hash_one(thread)),
                ready: Vec::new(),
                last_choice: Vec::new(),
            };
            for route in &routes.replicas {
                let standing = ledger.standing(route.key);
                let replica = match known.get(&route.key) {
                    Some(replica) if replica.target == route.target && replica.protocol == routes.traffic.protocol => Rc::clone(replica),
                    _ => Replica::new(route, routes.traffic.protocol, Arc::clone(&standing), Arc::clone(ack)),
                };
                let is_weighed = routes.traffic.balance == Balance::LeastRequest;
                replica.enlist(Duration::from_millis(routes.keepalive_idle_ms), app.limits.connect_ms, standing, is_weighed);
                if route.last_choice { &mut app.last_choice } else { &mut app.ready }.push(Rc::clone(&replica));
                table.replicas.insert(route.key, replica);
            }
            table.apps.push(Rc::new(app));
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
        self.version
    }

    /// The app that a request belongs to, and how many bytes at the front of its path are not for the replica.
    pub(crate) fn app_for(&self, host: &str, path: &str) -> Result<(&Rc<App>, usize), Unrouted> {
        let found = self.router.app_for(host, path)?;
        self.apps.get(found.app).map(|app| (app, found.strip_bytes)).ok_or(Unrouted::Unclaimed)
    }

    /// The app of this name.
    pub(crate) fn app(&self, name: &AppName) -> Option<&Rc<App>> {
        // In the order of their names, as in the table that was published.
        self.apps.binary_search_by(|app| app.name.cmp(name)).ok().and_then(|at| self.apps.get(at))
    }

    /// Whether anybody has published it: `false` for the empty one that a thread begins with.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come
    }

    /// Whether there is no app at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// All apps.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &Rc<App>> {
        self.apps.iter()
    }

    /// The replica of a route.
    pub(crate) fn replica(&self, key: RouteKey) -> Option<&Rc<Replica>> {
        self.replicas.get(&key)
    }

    /// All replicas of all apps.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Rc<Replica>> {
        self.replicas.values()
    }
}

impl App {
    /// Whether the other is this app, perhaps in another table.
    pub(crate) fn is_same(&self, other: &App) -> bool {
        Arc::ptr_eq(&self.ledger, &other.ledger)
    }

    /// A number that nobody foresees.
    pub(crate) fn random(&self) -> u64 {
        self.dice.set(self.dice.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        balance::mix(self.dice.get())
    }

    /// Tells the ledger what this thread has seen since the last sweep.
    pub(crate) fn sweep(&self) {
        let seen = self.ready.iter().chain(&self.last_choice).map(|replica| (replica.key, replica.take_sample(), replica.take_waiting()));
        self.ledger.sweep(self.thread, seen);
    }

    /// The replica for a request, of those that are not in `tried`. `key`: what it is known by, where that counts. `None`: there is no
    /// other.
    pub(crate) fn pick(&self, tried: &[Rc<Replica>], key: Option<u64>) -> Option<Rc<Replica>> {
        if !tried.is_empty() {
            return self.pick_another(tried, key);
        }
        let from = if self.ready.is_empty() { &self.last_choice } else { &self.ready };
        if from.is_empty() {
            return None;
        }
        let turn = self.ledger.take_turn();
        if self.traffic.balance == Balance::RoundRobin && self.traffic.slow_start_ms == 0 && !self.ledger.has_ejected() {
            return from.get(turn % from.len()).map(Rc::clone);
        }
        let fits = |replica: &Replica| !replica.is_ejected();
        self.choose(from, turn, key, fits).or_else(|| self.choose(from, turn, key, |_| true))
    }

    /// A second choice: spread over the others, without taking a turn from anyone. On another node if there is one: what ended the first
    /// may have ended all on its node.
    fn pick_another(&self, tried: &[Rc<Replica>], key: Option<u64>) -> Option<Rc<Replica>> {
        let is_tried = |replica: &Replica| tried.iter().any(|tried| tried.key == replica.key);
        let is_near = |replica: &Replica| tried.iter().any(|tried| tried.node == replica.node);
        let turn = |from: &[Rc<Replica>]| self.ledger.turn().checked_div(from.len()).unwrap_or_default();
        let tiers = [(&self.ready, false), (&self.ready, true), (&self.last_choice, false), (&self.last_choice, true)];
        [false, true].into_iter().find_map(|is_ejected| {
            tiers.into_iter().find_map(|(from, near)| {
                let fits = |replica: &Replica| is_near(replica) == near && replica.is_ejected() == is_ejected && !is_tried(replica);
                self.choose(from, turn(from), key, fits)
            })
        })
    }

    fn choose(&self, from: &[Rc<Replica>], turn: usize, key: Option<u64>, fits: impl Fn(&Replica) -> bool) -> Option<Rc<Replica>> {
        let count = from.len();
        let fits = |at: usize| from.get(at).is_some_and(|replica| fits(replica));
        let slow_start_ms = self.traffic.slow_start_ms;
        let now_ms = if slow_start_ms == 0 { 0 } else { self.ledger.now_ms() };
        let of = |at: usize, ask: &dyn Fn(&Replica) -> u64| from.get(at).map_or(0, |replica| ask(replica));
        let share = |at: usize| of(at, &|replica| balance::share(replica.age_ms(now_ms), slow_start_ms));
        let at = match (key, &self.traffic.balance) {
            (Some(key), _) => balance::belonging(key, count, fits, |at| of(at, &|replica| replica.number)),
            (None, Balance::LeastRequest) => balance::less_loaded(self.random(), count, fits, share, |at| of(at, &Replica::load)),
            (None, _) if slow_start_ms > 0 => balance::in_weighted_turn(turn, count, fits, share),
            (None, _) => balance::in_turn(turn, count, fits),
        };
        at.and_then(|at| from.get(at)).map(Rc::clone)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use cluster::id::{NodeId, ReplicaId};
    use cluster::route::{AppRoutes, Route, RoutingTable, Target};
    use tokio::sync::Notify;

    use super::*;

    fn key(n: u128) -> RouteKey {
        RouteKey { replica: ReplicaId(n), attempt: 1 }
    }

    fn ledger() -> Arc<AppLedger> {
        Arc::new(AppLedger::new(AppName::builtin(), 1, Instant::now()))
    }

    fn published(ledger: &Arc<AppLedger>, replicas: &[(u128, bool)]) -> Published {
        let route =
            |&(n, last_choice): &(u128, bool)| Route { key: key(n), node: NodeId(1), target: Target::Loopback(1), last_choice, age_ms: 0 };
        let routes = AppRoutes { desired: 4, replicas: replicas.iter().map(route).collect(), ..AppRoutes::default() };
        let table = RoutingTable {
            version: 1,
            fallback: Some(AppName::builtin()),
            apps: BTreeMap::from([(AppName::builtin(), routes)]),
            ..RoutingTable::default()
        };
        Published { router: Arc::new(Router::new(&table)), table: Arc::new(table), ledgers: vec![Arc::clone(ledger)] }
    }

    fn tried(table: &Table, replicas: &[u128]) -> Vec<Rc<Replica>> {
        replicas.iter().map(|n| Rc::clone(&table.replicas[&key(*n)])).collect()
    }

    fn picks(table: &Table, count: usize, tried: &[Rc<Replica>]) -> Vec<u128> {
        let app = table.app_for("", "/").unwrap().0;
        (0..count).map(|_| app.pick(tried, None).unwrap().key.replica.0).collect()
    }

    #[test]
    fn turns_go_round_exactly_and_go_on_with_the_next_table() {
        let ledger = ledger();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (first, _) =
            Table::build(&published(&ledger, &[(1, false), (2, false), (3, false)]), &Table::default(), &[], 0, &Limits::default(), &ack);
        assert_eq!(picks(&first, 4, &[]), [1, 2, 3, 1]);
        let (second, left) = Table::build(&published(&ledger, &[(1, false), (2, false)]), &first, &[], 0, &Limits::default(), &ack);
        assert!(left.is_empty());
        assert_eq!(picks(&second, 3, &[]), [1, 2, 1]);
        assert!(Rc::ptr_eq(&first.replicas[&key(1)], &second.replicas[&key(1)]));
        assert!(first.replicas[&key(3)].is_retired());
    }

    #[test]
    fn a_last_choice_is_used_only_when_there_is_no_other() {
        let ledger = ledger();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (table, _) = Table::build(&published(&ledger, &[(1, true), (2, false)]), &Table::default(), &[], 0, &Limits::default(), &ack);
        assert_eq!(picks(&table, 3, &[]), [2, 2, 2]);
        assert_eq!(picks(&table, 1, &tried(&table, &[2])), [1]);
        assert!(table.app_for("", "/").unwrap().0.pick(&tried(&table, &[1, 2]), None).is_none());
        let (table, _) = Table::build(&published(&ledger, &[(1, true)]), &table, &[], 0, &Limits::default(), &ack);
        assert_eq!(picks(&table, 1, &[]), [1]);
    }

    #[test]
    fn second_choices_spread_over_all_others() {
        let ledger = ledger();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let replicas = [(1, false), (2, false), (3, false), (4, false)];
        let (table, _) = Table::build(&published(&ledger, &replicas), &Table::default(), &[], 0, &Limits::default(), &ack);
        let app = table.app_for("", "/").unwrap().0;
        let mut counts = BTreeMap::new();
        for _ in 0..120 {
            let first = app.pick(&[], None).unwrap();
            if first.key == key(2) {
                *counts.entry(app.pick(&[first], None).unwrap().key.replica.0).or_insert(0) += 1;
            }
        }
        assert_eq!(counts, BTreeMap::from([(1, 10), (3, 10), (4, 10)]));
    }

    #[test]
    fn a_second_choice_is_on_another_node_if_there_is_one() {
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let mut published = published(&ledger(), &[(1, false), (2, false), (3, false), (4, true)]);
        let routes = Arc::make_mut(&mut published.table).apps.get_mut(&AppName::builtin()).unwrap();
        routes.replicas.iter_mut().for_each(|route| route.node = NodeId(route.key.replica.0 / 2));
        let (table, _) = Table::build(&published, &Table::default(), &[], 0, &Limits::default(), &ack);
        assert_eq!(picks(&table, 2, &tried(&table, &[2])), [1, 1]);
        assert_eq!(picks(&table, 2, &tried(&table, &[1, 2])), [3, 3]);
        assert_eq!(picks(&table, 1, &tried(&table, &[1, 2, 3])), [4]);
    }

    #[test]
    fn a_replica_that_left_is_counted_until_its_last_request_ends() {
        let ledger = ledger();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (first, _) = Table::build(&published(&ledger, &[(1, false)]), &Table::default(), &[], 0, &Limits::default(), &ack);
        let request = crate::replica::InFlight::new(first.app_for("", "/").unwrap().0.pick(&[], None).unwrap());
        let (second, left) = Table::build(&published(&ledger, &[]), &first, &[], 0, &Limits::default(), &ack);
        assert_eq!(left.len(), 1);
        // It is still there in the version after, and forgotten once it is idle.
        let (third, left) = Table::build(&published(&ledger, &[]), &second, &left, 0, &Limits::default(), &ack);
        assert_eq!(left.len(), 1);
        drop(request);
        let (_, left) = Table::build(&published(&ledger, &[]), &third, &left, 0, &Limits::default(), &ack);
        assert!(left.is_empty());
    }

    #[test]
    fn who_is_left_out_is_a_second_choice_and_the_others_have_exact_turns() {
        let ledger = ledger();
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let (table, _) = {
            let published = published(&ledger, &[(1, false), (2, false), (3, false), (4, true)]);
            ledger.keep(&published.table.apps[&AppName::builtin()]);
            Table::build(&published, &Table::default(), &[], 0, &Limits::default(), &ack)
        };
        for _ in 0..3 {
            ledger.connect_failed(key(2));
        }
        assert_eq!(picks(&table, 4, &[]), [1, 3, 1, 3]);
        assert_eq!(picks(&table, 1, &tried(&table, &[1])), [3]);
        assert_eq!(picks(&table, 1, &tried(&table, &[1, 3])), [4]);
        assert_eq!(picks(&table, 1, &tried(&table, &[1, 3, 4])), [2]);
    }

    #[test]
    fn a_value_belongs_to_one_replica_and_to_another_one_only_when_that_was_tried() {
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let mut published = published(&ledger(), &[(1, false), (2, false), (3, false)]);
        let routes = Arc::make_mut(&mut published.table).apps.get_mut(&AppName::builtin()).unwrap();
        routes.traffic.balance = Balance::Cookie("id".to_owned());
        let (table, _) = Table::build(&published, &Table::default(), &[], 0, &Limits::default(), &ack);
        let app = table.app_for("", "/").unwrap().0;
        let first = app.pick(&[], Some(77)).unwrap();
        for _ in 0..5 {
            assert!(Rc::ptr_eq(&app.pick(&[], Some(77)).unwrap(), &first));
        }
        let second = app.pick(&[Rc::clone(&first)], Some(77)).unwrap();
        assert!(!Rc::ptr_eq(&second, &first));
        assert!(Rc::ptr_eq(&app.pick(&[first], Some(77)).unwrap(), &second));
    }

    #[test]
    fn requests_under_way_weigh_where_the_app_is_balanced_by_them() {
        let ack = ThreadAck::new(Arc::new(Notify::new()));
        let mut published = published(&ledger(), &[(1, false), (2, false)]);
        let routes = Arc::make_mut(&mut published.table).apps.get_mut(&AppName::builtin()).unwrap();
        routes.traffic.balance = Balance::LeastRequest;
        let (table, _) = Table::build(&published, &Table::default(), &[], 0, &Limits::default(), &ack);
        let busy = crate::replica::InFlight::new(Rc::clone(&table.replicas[&key(1)]));
        assert_eq!(picks(&table, 5, &[]), [2; 5]);
        drop(busy);
        assert_eq!(table.replicas[&key(1)].load(), 0);
    }
}
