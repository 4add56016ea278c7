//! Requests, on their way to the workers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::cluster::local;
use crate::harness::http::{Kept, raw};
use crate::harness::lines::Lines;
use crate::harness::load::Load;
use crate::harness::{Answer, Call, PATIENCE, Setup, ports};

/// How many of the answers came from each worker.
fn tally(answers: impl Iterator<Item = Answer>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.worker()).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_is_exact() {
    let cluster = Setup::new().start();
    let ids = cluster.settle(4).ids();
    let counts = tally((0..40).map(|_| cluster.get("/")));
    assert_eq!(counts.values().collect::<Vec<_>>(), [&10; 4], "{counts:?}");
    assert_eq!(counts.into_keys().collect::<std::collections::BTreeSet<_>>(), ids);

    // Also on one kept connection, which is all on one thread of the gateway.
    let mut kept = Kept::open(cluster.address()).unwrap();
    let counts = tally((0..40).map(|_| kept.send(&Call::get("/")).unwrap()));
    assert_eq!(counts.values().collect::<Vec<_>>(), [&10; 4], "{counts:?}");

    // Also with the one and the other in turn.
    let mut others: Vec<Kept> = (0..5).map(|_| Kept::open(cluster.address()).unwrap()).collect();
    let counts = tally((0..40).map(|nth| others[nth % 5].send(&Call::get("/")).unwrap()));
    assert_eq!(counts.values().collect::<Vec<_>>(), [&10; 4], "{counts:?}");
}

#[test]
fn an_app_without_replicas_is_refused_at_once() {
    let cluster = Setup::new().agents(1).start();
    let check = || {
        let start = Instant::now();
        let detail = cluster.get("/").problem(503);
        assert!(detail.contains("scale"), "the detail names the scale call: {detail}");
        assert!(start.elapsed() < Duration::from_secs(3), "it waited for what nobody asked for");
    };
    check();
    cluster.settle(2);
    assert_eq!(cluster.get("/").status(), 200);
    cluster.settle(0);
    check();
}

#[test]
fn a_request_waits_for_the_first_replica() {
    let cluster = Setup::new().agents(1).start();
    // Nothing runs; the requests are sent in the moment in which somebody asks for replicas.
    cluster.scale(2);
    let address = cluster.address();
    let requests: Vec<_> = (0..8).map(|_| thread::spawn(move || Call::get("/").send(address))).collect();
    for request in requests {
        request.join().unwrap().ok().worker();
    }
}

#[test]
fn a_request_does_not_wait_for_ever() {
    let cluster = Setup::new().agents(0).start();
    cluster.scale(1);
    let start = Instant::now();
    let answer = cluster.get("/");
    answer.problem(503);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let waited = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(15)).contains(&waited), "it waited for {waited:?} instead of 5 s");
}

#[test]
fn nobody_notices_when_an_app_is_scaled_up_and_down() {
    let cluster = Setup::new().start();
    cluster.settle(2);
    let load = Load::start(cluster.address(), 8);
    for count in [6, 1, 4, 2] {
        load.wait_more(40);
        cluster.settle(count);
    }
    load.wait_more(40);
    load.stop_without_failure();
    cluster.wait_processes_match();
}

#[test]
fn requests_that_are_under_way_are_finished_before_a_replica_stops() {
    let cluster = Setup::new().start();
    cluster.settle(4);
    let address = cluster.address();
    // One on each of the four, provably: its first bytes are back already.
    let mut requests: Vec<_> = (0..4)
        .map(|_| {
            let mut wire =
                raw(address, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello", PATIENCE * 2).unwrap();
            let mut framing = wire.head().unwrap().framing("POST");
            assert_eq!(wire.piece(&mut framing).unwrap().as_deref(), Some(&b"hello"[..]));
            (wire, framing)
        })
        .collect();
    cluster.scale(1);
    let status = cluster.wait_status("three replicas that drain", |status| {
        status.replicas.iter().filter(|replica| replica.state == "draining").count() == 3
    });
    assert_eq!((status.worker().desired, status.worker().running, status.worker().ready), (1, 1, 1));
    let remaining = status.replicas.iter().find(|replica| replica.ready).unwrap().id.clone();
    for _ in 0..6 {
        assert_eq!(cluster.get("/").ok().worker(), remaining, "what drains gets nothing new");
    }
    for (wire, framing) in &mut requests {
        wire.stream_mut().write_all(b"world").unwrap();
        assert_eq!(wire.piece(framing).unwrap().as_deref(), Some(&b"world"[..]));
        assert_eq!(wire.piece(framing).unwrap(), None);
    }
    cluster.wait_settled(1);
}

#[test]
fn many_replicas_are_spread_evenly() {
    let cluster = Setup::new().start();
    let status = cluster.settle(30);
    assert_eq!(status.nodes.iter().map(|node| node.replicas).collect::<Vec<_>>(), [15, 15]);
    let counts = tally((0..60).map(|_| cluster.get("/")));
    assert!(counts.len() == 30 && counts.values().all(|count| *count == 2), "{counts:?}");
    let status = cluster.settle(3);
    assert!(status.nodes.iter().all(|node| node.replicas >= 1), "{status:#?}");
    cluster.wait_processes_match();
}

#[test]
fn the_routing_table_is_told_version_by_version() {
    let cluster = Setup::new().start();
    cluster.settle(1);
    let mut lines = Lines::open(cluster.address(), &Call::get("/v1/routes"));
    let first = lines.next(PATIENCE);
    let version = |table: &serde_json::Value| table["version"].as_u64().unwrap();
    assert_eq!(first["apps"]["worker"]["replicas"].as_array().map(Vec::len), Some(1), "{first}");
    cluster.scale(3);
    let later = lines.find(PATIENCE, "table with three routes", |table| {
        assert!(version(table) > version(&first));
        table["apps"]["worker"]["replicas"].as_array().is_some_and(|routes| routes.len() == 3)
    });
    assert_eq!(later["apps"]["worker"]["desired"], 3);
    cluster.wait_settled(3);
}

#[test]
fn bodies_flow_both_ways() {
    let cluster = Setup::new().start();
    cluster.settle(2);
    let body: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    for _ in 0..4 {
        let answer = Call::post("/echo", body.clone()).header("Content-Type", "image/png").send(cluster.address()).ok();
        assert_eq!(answer.header("content-type"), Some("image/png"));
        assert!(answer.body == body, "the body came back changed");
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(Call::new(method, "/any/path?x=%20").send(cluster.address()).status(), 200, "{method}");
    }
    assert_eq!(Call::new("HEAD", "/").send(cluster.address()).status(), 200);
    assert_eq!(cluster.get("/?status=418").status(), 418, "a worker's own errors are passed on as they are");
}

#[test]
fn only_reserved_paths_are_the_controllers() {
    let cluster = Setup::new().start();
    cluster.settle(1);
    for app in ["/status/", "/statusx", "/Status", "/scale/", "/v2", "/v1x", "/ui2", "/healthz/", "//status", "/%73tatus", "/add-node/x"] {
        assert!(cluster.get(app).text().starts_with("Hello from Worker ID: "), "{app} is the app's");
    }
    for ours in ["/status", "/status?x=1", "/healthz", "/metrics", "/v1/openapi.json"] {
        let answer = cluster.get(ours).ok();
        assert!(!answer.text().starts_with("Hello from Worker ID: "), "{ours} is the controller's");
    }
    for nothing in ["/v1", "/v1/", "/v1/nothing", "/ui/nothing"] {
        cluster.get(nothing).problem(404);
    }
}

#[test]
fn every_path_of_the_gateways_own_port_is_the_apps() {
    let port = ports::free();
    let address: SocketAddr = local(port);
    let cluster = Setup::new().controller_args(&["--gateway-listen", &address.to_string()]).start();
    cluster.settle(2);
    for path in ["/", "/status", "/v1/anything", "/scale"] {
        let text = Call::get(path).send(address).ok().text();
        assert!(text.starts_with("Hello from Worker ID: "), "{path}: {text}");
    }
    assert_eq!(Call::get("/healthz").send(address).ok().text(), "ok\n", "the worker's own");
    // A name that the API would refuse is the app's business here.
    assert_eq!(Call::get("/").host("shop.example").send(address).status(), 200);
}
