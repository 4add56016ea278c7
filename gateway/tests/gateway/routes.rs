//! Several apps behind one gateway: whose request it is, and what of its path the replica gets.

use cluster::app::AppName;
use cluster::route::{AppRoutes, Deadlines, Route, RoutingTable};
use cluster::rule::RouteRule;
use gateway::{Config, Face, Limits, LocalDoor};
use http::Request;

use crate::client::{Answer, until};
use crate::http2_client::{Http2, run};
use crate::http2_worker::Worker;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// A table of apps: name, rules such as `a.test/api strip`, replicas.
fn table(rig: &Rig, apps: Vec<(&str, &[&str], Vec<Route>)>) -> RoutingTable {
    let mut table = rig.table(0, Vec::new());
    table.apps.clear();
    for (name, rules, replicas) in apps {
        let rules = rules.iter().map(|text| rule(text)).collect();
        let routes = AppRoutes { desired: 1, keepalive_idle_ms: 4_000, replicas, rules, ..AppRoutes::default() };
        table.apps.insert(name.parse().unwrap(), routes);
    }
    table.fallback = table.apps.contains_key(&AppName::builtin()).then(AppName::builtin);
    table
}

fn rule(text: &str) -> RouteRule {
    let (text, strip_prefix) = text.strip_suffix(" strip").map_or((text, false), |text| (text, true));
    let (host, path) = text.split_at(text.find('/').unwrap());
    RouteRule { host: (!host.is_empty()).then(|| host.parse().unwrap()), path: path.parse().unwrap(), strip_prefix }
}

fn ask(rig: &Rig, target: &str, host: &str) -> Answer {
    rig.client().tap(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

/// It ends every connection when it has got a request.
fn dying() -> Upstream {
    Upstream::start(|mut conn| {
        conn.head();
        conn.end();
    })
}

/// The request lines that an upstream got.
fn lines(upstream: &Upstream) -> Vec<String> {
    upstream.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
}

#[test]
fn host_and_path_tell_whose_request_it_is() {
    let [shop, api, worker] = ["shop", "api", "worker"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish_table(table(
        &rig,
        vec![
            ("shop", &["shop.test/", "*.shop.test/"], vec![direct(1, &shop)]),
            ("api", &["/api", "shop.test/api"], vec![direct(2, &api)]),
            ("worker", &[], vec![direct(3, &worker)]),
        ],
    ));
    for (target, host, expected) in [
        ("/", "shop.test", "shop"),
        ("/x", "Shop.TEST:8000", "shop"),
        ("/x", "shop.test.", "shop"),
        ("/api/x", "shop.test", "api"),
        ("/apix", "shop.test", "shop"),
        ("/x", "eu.shop.test", "shop"),
        ("/api?q", "eu.shop.test", "shop"),
        ("/api?q", "other.test", "api"),
        ("/", "other.test", "worker"),
        ("//api", "other.test", "worker"),
        ("/API", "other.test", "worker"),
        // RFC 9112 section 3.2.2: the host of the target counts.
        ("http://shop.test/x", "other.test", "shop"),
        ("http://other.test/api", "shop.test", "api"),
    ] {
        assert_eq!(ask(&rig, target, host).body, expected, "{host} {target}");
    }
    run(async {
        let client = Http2::connect(rig.addr).await;
        for (url, expected) in [
            ("http://shop.test/", "shop"),
            ("http://shop.test/api", "api"),
            ("http://SHOP.test:8000/", "shop"),
            ("http://a.test/", "worker"),
        ] {
            let answer = client.ask(Request::builder().uri(url).body(()).unwrap()).await.unwrap();
            assert_eq!(answer.text(), expected, "{url}");
        }
    });
}

#[test]
fn a_prefix_that_is_not_for_the_replica_is_taken_off_and_told() {
    let upstream = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.body(5);
            }
            conn.answer("ok");
        }
    });
    let rig = Rig::new(1);
    rig.publish_table(table(&rig, vec![("api", &["/api strip"], vec![direct(1, &upstream)])]));
    for target in ["/api/x?y=/api/", "/api", "/api?q", "/api//a%2Fb/%41;c", "http://a.test/api/z"] {
        assert_eq!(ask(&rig, target, "a.test").status, 200, "{target}");
    }
    // What a client says of a prefix is not believed.
    let answer = rig.client().request("POST /api/up", "Content-Length: 5\r\nX-Forwarded-Prefix: /mine\r\n", "hello");
    assert_eq!(answer.body, "ok");
    let expected = ["GET /x?y=/api/", "GET /", "GET /?q", "GET //a%2Fb/%41;c", "GET /z", "POST /up"];
    assert_eq!(lines(&upstream), expected.map(|line| format!("{line} HTTP/1.1")));
    for head in upstream.heads() {
        let prefixes: Vec<&str> = head.lines().filter(|line| line.starts_with("x-forwarded-prefix")).collect();
        assert_eq!(prefixes, ["x-forwarded-prefix: /api"], "{head}");
        assert!(head.contains("\r\nhost: a.test\r\n"), "{head}");
    }
}

#[test]
fn a_trusted_proxys_prefix_stands_in_front_of_ours() {
    let upstream = Upstream::named("ok");
    let rig = Rig::trusting("127.0.0.0/8");
    rig.publish_table(table(&rig, vec![("api", &["/api strip"], vec![direct(1, &upstream)])]));
    rig.client().request("GET /api/x", "X-Forwarded-Prefix: /outer\r\n", "");
    let head = upstream.heads()[0].to_ascii_lowercase();
    let (outer, ours) = (head.find("x-forwarded-prefix: /outer"), head.find("x-forwarded-prefix: /api"));
    assert!(outer.is_some() && outer < ours, "{head}");
}

#[test]
fn a_request_that_is_sent_again_goes_by_the_path_that_the_client_sent() {
    // The first replica takes the request and ends the connection; the second gets the same.
    let dying = dying();
    let other = Upstream::named("other");
    let rig = Rig::new(1);
    rig.publish_table(table(&rig, vec![("api", &["/api strip"], vec![direct(1, &dying), direct(2, &other)])]));
    for _ in 0..2 {
        assert_eq!(ask(&rig, "/api/x", "a.test").body, "other");
    }
    assert_eq!(lines(&dying)[0], "GET /x HTTP/1.1");
    assert_eq!(lines(&other), ["GET /x HTTP/1.1", "GET /x HTTP/1.1"]);
}

#[test]
fn who_waits_for_a_replica_gets_the_app_that_claims_the_request_then() {
    let [old, new] = ["old", "new"].map(Upstream::named);
    let rig = Rig::new(1);
    rig.publish_table(table(&rig, vec![("old", &["/api strip"], vec![]), ("new", &["/new"], vec![direct(2, &new)])]));
    let mut client = rig.client();
    client.send("GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it waits", || rig.gateway.observer().figures().apps[&"old".parse().unwrap()].holding == 1);
    rig.publish_table(table(&rig, vec![("old", &["/old"], vec![direct(1, &old)]), ("new", &["/api"], vec![direct(2, &new)])]));
    assert_eq!(client.answer(false).unwrap().body, "new");
    assert_eq!(lines(&new), ["GET /api/x HTTP/1.1"]);
    assert!(!new.heads()[0].contains("x-forwarded-prefix"));
}

#[test]
fn what_nobody_claims_is_a_404_that_names_host_and_path() {
    let upstream = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish_table(table(&rig, vec![("api", &["/api"], vec![direct(1, &upstream)])]));
    let detail = ask(&rig, "/nowhere?q", "shop.test").problem(404);
    assert!(detail.contains("/nowhere on shop.test"), "{detail}");
    assert_eq!(rig.client().request("OPTIONS *", "", "").status, 404);
    let detail = ask(&rig, "/api/%2e%2e/admin", "shop.test").problem(400);
    assert!(detail.contains("/api/%2e%2e/admin") && detail.contains(".."), "{detail}");
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn the_controllers_paths_stay_its_own_whatever_routes_say() {
    let (local, mut connections) = LocalDoor::new(1);
    let taking = std::thread::spawn(move || {
        // An API that ends every connection: its paths are a 502 or 503.
        let mut count = 0;
        while connections.blocking_recv().is_some() {
            count += 1;
        }
        count
    });
    let upstream = Upstream::named("app");
    let apps = Rig::new(1);
    let rig = Rig::with(1, Limits::default(), Face::Combined { local });
    for rig in [&apps, &rig] {
        rig.publish_table(table(rig, vec![("api", &["/v1", "/status", "/"], vec![direct(1, &upstream)])]));
    }
    for path in ["/v1/x", "/status", "/v1"] {
        assert!(matches!(rig.get(path).status, 502 | 503), "{path}");
        assert_eq!(apps.get(path).body, "app", "{path}");
    }
    assert_eq!(rig.get("/status/").body, "app");
    drop(rig);
    assert_eq!(taking.join().unwrap(), 3);
}

#[test]
fn a_worker_of_http2_gets_the_rest_of_the_path_too() {
    let rig = Rig::new(1);
    let worker = Worker::named("h2");
    let mut table = table(&rig, vec![("api", &["/api strip"], vec![worker.route(1)])]);
    table.apps.values_mut().for_each(|app| app.traffic.protocol = cluster::traffic::Protocol::H2c);
    rig.publish_table(table);
    assert_eq!(ask(&rig, "/api/x?y", "a.test").body, "h2");
    let seen = worker.requests.last();
    assert_eq!(seen.uri.path_and_query().unwrap().as_str(), "/x?y");
    assert_eq!(seen.headers["x-forwarded-prefix"], "/api");
}

#[test]
fn each_app_has_deadlines_of_its_own() {
    let silent = Upstream::start(|mut conn| drop(conn.head().map(|_| conn.head())));
    let stalling = || {
        Upstream::start(|mut conn| {
            conn.head();
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            conn.head();
        })
    };
    let (hasty, patient) = (stalling(), stalling());
    let limits = Limits { first_byte_ms: 20_000, body_idle_ms: 20_000, hold_ms: 20_000, client_idle_ms: 400, ..Limits::default() };
    let rig = Rig::with_config(Config { threads: 1, limits, ..Config::default() }, Face::Apps);
    let mut table = table(
        &rig,
        vec![
            ("silent", &["/silent"], vec![direct(1, &silent)]),
            ("hasty", &["/hasty"], vec![direct(2, &hasty)]),
            ("patient", &["/patient"], vec![direct(3, &patient)]),
            ("absent", &["/absent"], vec![]),
        ],
    );
    for (app, deadlines) in [
        ("silent", Deadlines { first_byte_ms: Some(300), ..Deadlines::default() }),
        ("hasty", Deadlines { body_idle_ms: Some(300), ..Deadlines::default() }),
        ("absent", Deadlines { hold_ms: Some(200), ..Deadlines::default() }),
    ] {
        table.apps.get_mut(&app.parse::<AppName>().unwrap()).unwrap().deadlines = deadlines;
    }
    rig.publish_table(table);
    let mut waiting = rig.client();
    waiting.send("GET /patient HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(rig.get("/silent").problem(504).contains("within 300 ms"));
    assert!(rig.get("/absent").problem(503).contains("within 200 ms"));
    let mut cut = rig.client();
    cut.send("GET /hasty HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(cut.answer(false).is_err());
    // All the while the other's answer stood still as well, and was not cut.
    waiting.head().unwrap();
    let mut half = [0; 4];
    std::io::Read::read_exact(&mut waiting.tcp, &mut half).unwrap();
    assert!(!waiting.hears_within(std::time::Duration::from_millis(50)));
}

#[test]
fn an_app_says_how_often_a_request_is_sent_again() {
    let dying = dying();
    let rig = Rig::new(1);
    for (retries, expected) in [(Some(0), 1), (None, 3), (Some(1), 2)] {
        let before = dying.requests();
        let replicas = (1..=8).map(|number| direct(number, &dying)).collect();
        let mut table = table(&rig, vec![("worker", &[], replicas)]);
        table.apps.values_mut().for_each(|app| app.deadlines.retries = retries);
        rig.publish_table(table);
        rig.get("/").problem(502);
        assert_eq!(dying.requests() - before, expected, "{retries:?}");
    }
}

#[test]
fn settings_of_an_app_change_under_requests_and_none_is_lost() {
    let upstream = Upstream::named("ok");
    let rig = Rig::new(2);
    std::thread::scope(|scope| {
        let requests: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = rig.client();
                    (0..200).filter(|_| client.get("/api/x").status != 200).count()
                })
            })
            .collect();
        let mut turn = 0;
        while !requests.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            turn += 1;
            let rules: &[&str] = [&["/api strip"] as &[&str], &["/api"], &["a.test/ strip"]][turn % 3];
            let mut table = table(&rig, vec![("api", rules, vec![direct(1, &upstream)])]);
            for app in table.apps.values_mut() {
                app.keepalive_idle_ms = 1_000 + u64::try_from(turn).unwrap();
                app.traffic.slow_start_ms = u64::try_from(turn % 2).unwrap();
                app.deadlines.first_byte_ms = Some(10_000 + u64::try_from(turn).unwrap());
            }
            rig.publish_table(table);
        }
        for request in requests {
            assert_eq!(request.join().unwrap(), 0);
        }
        assert!(turn > 3);
    });
}
