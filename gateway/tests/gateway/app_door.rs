//! Doors that stand for one app each, and are opened while the gateway runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cluster::app::AppName;
use cluster::route::{AppRoutes, Route, RoutingTable};
use gateway::{Door, Face, Limits, listen};

use crate::client::Client;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

/// Opens a door of this app.
fn open(rig: &Rig, threads: usize, name: &str) -> SocketAddr {
    let listeners = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), threads).unwrap();
    let addr = listeners[0].local_addr().unwrap();
    rig.gateway.open(Door::new(listeners, Face::App(app(name)))).unwrap();
    addr
}

fn table(version: u64, apps: Vec<(&str, Vec<Route>)>) -> RoutingTable {
    let routes = |replicas| AppRoutes { desired: 1, keepalive_idle_ms: 4_000, replicas, ..AppRoutes::default() };
    let apps: BTreeMap<_, _> = apps.into_iter().map(|(name, replicas)| (app(name), routes(replicas))).collect();
    RoutingTable { epoch: 1, version, apps, ..RoutingTable::default() }
}

#[test]
fn everything_that_comes_through_the_door_of_an_app_is_that_apps() {
    let (one, other) = (Upstream::named("one"), Upstream::named("other"));
    let rig = Rig::new(2);
    let (first, second) = (open(&rig, 2, "first"), open(&rig, 2, "second"));
    rig.publish_table(table(1, vec![("first", vec![direct(1, &one)]), ("second", vec![direct(2, &other)])]));
    for path in ["/", "/status", "/v1/apps", "/x?y"] {
        assert_eq!(Client::connect(first).get(path).body, "one");
        assert_eq!(Client::connect(second).get(path).body, "other");
    }
}

#[test]
fn a_request_waits_for_a_table_that_has_the_app() {
    let replica = Upstream::named("ready");
    let rig = Rig::new(1);
    rig.publish_table(table(1, vec![]));
    let mut client = Client::connect(open(&rig, 1, "late"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.publish_table(table(2, vec![("late", vec![])]));
    rig.publish_table(table(3, vec![("late", vec![direct(1, &replica)])]));
    assert_eq!(client.answer(false).unwrap().body, "ready");
}

#[test]
fn an_app_that_never_comes_is_told_after_the_hold() {
    let rig = Rig::with(1, Limits { hold_ms: 200, ..Limits::default() }, Face::Apps);
    let addr = open(&rig, 1, "nobody");
    rig.publish_table(table(1, vec![]));
    let began = Instant::now();
    let answer = Client::connect(addr).get("/");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(answer.field("retry-after"), Some("1"));
    let detail = answer.problem(503);
    assert!(detail.contains("no app nobody"), "{detail}");
}

#[test]
fn a_door_needs_a_listener_for_each_thread() {
    let rig = Rig::new(2);
    let listeners = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1).unwrap();
    assert!(rig.gateway.open(Door::new(listeners, Face::App(app("a")))).is_err());
}
