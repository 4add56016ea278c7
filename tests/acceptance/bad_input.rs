//! Everything from outside that does not fit is refused with a reason, quickly, and changes nothing.

use std::time::{Duration, Instant};

use crate::harness::http::raw;
use crate::harness::{Answer, Call, Cluster, Setup, status::Status};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// What must not change: everything but ages.
fn lasting(mut status: Status) -> Status {
    for replica in &mut status.replicas {
        replica.uptime_seconds = 0.0;
    }
    status
}

/// Makes a call that must be refused with one of these.
#[track_caller]
fn refused(cluster: &Cluster, what: &str, call: &Call, expected: &[u16]) -> Answer {
    let start = Instant::now();
    let answer = call.clone().within(LIMIT).try_send(cluster.address()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(start.elapsed() < LIMIT, "{what}: answered after {:?}", start.elapsed());
    assert!(expected.contains(&answer.status()), "{what}: {} instead of {expected:?}: {}", answer.status(), answer.text());
    answer.any_problem();
    answer
}

fn settled() -> (Cluster, Status) {
    let cluster = Setup::new().agents(1).start();
    let status = lasting(cluster.settle(2));
    (cluster, status)
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    vec![
        ("nothing", vec![]),
        ("no JSON", b"count=4".to_vec()),
        ("JSON that breaks off", b"{\"count\":".to_vec()),
        ("JSON with something behind it", b"{\"count\":1}{\"count\":2}".to_vec()),
        ("another type", b"[]".to_vec()),
        ("a bare number", b"4".to_vec()),
        ("null", b"null".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("deep nesting", deep("[", "]")),
        ("deep nesting in a field", [b"{\"count\":".to_vec(), deep("{\"a\":", "}"), b"}".to_vec()].concat()),
        ("invalid UTF-8", b"{\"count\":\"\xff\xfe\"}".to_vec()),
        ("invalid UTF-8 in a name", b"{\"\xc3\x28\":1}".to_vec()),
        ("a NUL byte", b"{\"count\":1}\0".to_vec()),
        ("UTF-16", "{\"count\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ]
}

#[test]
fn bodies_that_do_not_fit_are_refused() {
    let (cluster, before) = settled();
    for path in ["/scale", "/add-node", "/remove-node"] {
        for (what, body) in bodies() {
            refused(&cluster, &format!("{path} with {what}"), &Call::post(path, body), &[400, 422]);
        }
        let large = [b"{\"count\":1,\"x\":\"".to_vec(), vec![b'x'; 1_200_000], b"\"}".to_vec()].concat();
        refused(&cluster, &format!("{path} with more than 1 MiB"), &Call::post(path, large), &[413]);
    }
    assert_eq!(lasting(cluster.status()), before);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let (cluster, before) = settled();
    for count in [
        "-1",
        "4.0",
        "4.5",
        "1e3",
        "1000001",
        "18446744073709551616",
        "99999999999999999999999",
        "\"4\"",
        "null",
        "true",
        "[4]",
        "{}",
        "NaN",
        "04",
        "+4",
        "-0.0",
    ] {
        refused(&cluster, &format!("count {count}"), &Call::post("/scale", format!("{{\"count\":{count}}}")), &[400, 422]);
    }
    for body in [
        r#"{"count":3,"replicas":3}"#,
        r#"{"count":3,"app":7}"#,
        r#"{"count":3,"app":null,"more":1}"#,
        r#"{"Count":3}"#,
        r#"{"count":3,"count":4}"#,
        r#"{"count":3,"app":"../worker"}"#,
        r#"{"count":3,"app":""}"#,
    ] {
        refused(&cluster, body, &Call::post("/scale", body), &[400, 404, 422]);
    }
    refused(&cluster, "an unknown app", &Call::post("/scale", r#"{"count":3,"app":"shop"}"#), &[404]);
    assert_eq!(lasting(cluster.status()), before);
}

#[test]
fn urls_that_do_not_fit_are_refused() {
    let (cluster, before) = settled();
    for url in [
        "",
        "localhost:9091",
        "//localhost:9091",
        "http://",
        "http://:9091",
        "http://localhost",
        "http://localhost:",
        "http://localhost:0",
        "http://localhost:65536",
        "http://localhost:-1",
        "http://localhost:9091/path",
        "http://localhost:9091//",
        "http://localhost:9091?q",
        "http://localhost:9091#f",
        "http://user@localhost:9091",
        "http://user:password@localhost:9091",
        "https://localhost:9091",
        "ftp://localhost:9091",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.1:9091",
        "http://0x7f.1:9091",
        "http://2130706433:9091",
        "http://127.0.0.01:9091",
        "http://[::1:9091",
        "http://local host:9091",
        "http://localhost:9091\\r\\nX: y",
        "http://b\u{fc}cher.example:9091",
    ] {
        let body = serde_json::json!({ "url": url }).to_string();
        refused(&cluster, &format!("add-node {url:?}"), &Call::post("/add-node", body.clone()), &[400]);
        refused(&cluster, &format!("remove-node {url:?}"), &Call::post("/remove-node", body), &[400, 404]);
    }
    let long = format!("http://{}:9091", "x".repeat(100_000));
    for body in [
        serde_json::json!({ "url": long }),
        serde_json::json!({ "url": 9091 }),
        serde_json::json!({ "url": null }),
        serde_json::json!({ "url": ["http://localhost:9091"] }),
        serde_json::json!({ "url": "http://localhost:9091", "name": "x" }),
        serde_json::json!({ "url": "http://localhost:9091", "take_over": "yes" }),
        serde_json::json!({ "URL": "http://localhost:9091" }),
    ] {
        refused(&cluster, "add-node", &Call::post("/add-node", body.to_string()), &[400, 422]);
    }
    assert_eq!(lasting(cluster.status()), before);
}

#[test]
fn methods_that_do_not_fit_are_refused() {
    let (cluster, before) = settled();
    for path in ["/scale", "/add-node", "/remove-node"] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = refused(&cluster, &format!("{method} {path}"), &Call::new(method, path).body(r#"{"count":9}"#), &[405]);
            assert_eq!(answer.header("allow"), Some("POST"), "{method} {path}");
        }
    }
    for path in ["/status", "/healthz", "/metrics", "/v1/openapi.json"] {
        for method in ["POST", "PUT", "DELETE"] {
            let answer = refused(&cluster, &format!("{method} {path}"), &Call::new(method, path), &[405]);
            assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{method} {path}: {answer:?}");
        }
    }
    for path in [
        "/v1/nothing",
        "/v1/replicas/nothing/logs",
        "/v1/replicas/0199b1c2-7d3e-7abc-8def-0123456789ab/logs",
        "/v1/replicas/..%2f..%2fetc/logs",
    ] {
        refused(&cluster, path, &Call::get(path), &[400, 404]);
    }
    assert_eq!(lasting(cluster.status()), before);
}

#[test]
fn the_content_type_does_not_matter() {
    let cluster = Setup::new().agents(1).start();
    for (count, kind) in [(1, "application/x-www-form-urlencoded"), (2, "application/json"), (3, "text/plain"), (4, "nonsense")] {
        let call = Call::post("/scale", format!("{{\"count\":{count}}}")).header("Content-Type", kind);
        assert_eq!(call.send(cluster.address()).ok().json()["desired"], count, "{kind}");
    }
    let answer = Call::post("/scale", r#" { "count" : 0 , "app" : "worker" } "#).send(cluster.address()).ok();
    assert_eq!(answer.json()["desired"], 0);
    cluster.wait_settled(0);
}

#[test]
fn what_is_no_http_harms_nobody() {
    let (cluster, before) = settled();
    let many_fields = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-Field: x\r\n".repeat(5_000));
    let long_field = format!("GET /status HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1_000_000));
    let messages: [(&str, &[u8]); 9] = [
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("noise", b"\0\x01\x02\xff\xfe\r\n\r\n"),
        ("no version", b"GET /status\r\n\r\n"),
        ("no Host", b"GET /status HTTP/1.1\r\n\r\n"),
        ("a negative length", b"POST /scale HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"),
        ("two lengths", b"POST /scale HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\nContent-Length: 12\r\n\r\n{\"count\":9}"),
        ("many fields", many_fields.as_bytes()),
        ("a long field", long_field.as_bytes()),
        ("a long target", long_target.as_bytes()),
    ];
    for (what, bytes) in messages {
        for address in [cluster.address(), cluster.agents[0].address()] {
            // An answer or none: never one that does as it was told.
            if let Ok(head) = raw(address, bytes, LIMIT).and_then(|mut wire| wire.head()) {
                assert!((400..=431).contains(&head.status), "{what} at {address}: {head:?}");
            }
        }
    }
    assert_eq!(lasting(cluster.status()), before);
}

#[test]
fn a_million_replicas_may_be_asked_for() {
    let cluster = Setup::new().agents(0).start();
    cluster.post("/scale", &serde_json::json!({ "count": 1_000_000 })).ok();
    let status = cluster.wait_status("a reason to wait", |status| !status.worker().waiting.is_empty());
    assert_eq!(status.worker().desired, 1_000_000);
    cluster.settle(0);
}
