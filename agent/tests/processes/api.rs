//! The agent's HTTP interface.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::agent_process::{Agent, CLUSTER, Home, new_id, this_program};
use crate::http::{self, Observer, call, get};
use crate::proc::wait_for;

pub const TESTS: &[(&str, fn())] = &[
    ("api::facts", facts),
    ("api::bad_calls", bad_calls),
    ("api::fencing", fencing),
    ("api::observers", observers),
    ("api::slow_observer", slow_observer),
    ("api::tunnel", tunnel),
    ("api::logs", logs),
    ("api::one_agent_per_directory_and_port", one_agent_per_directory_and_port),
];

fn facts() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let node = get(agent.port, "/v1/node").json();
    assert_eq!(node["service"], "ostler-agent");
    assert_eq!(node["name"], "test-node");
    assert_eq!(node["os"], "linux");
    assert!(node["cores"].as_u64().unwrap() > 0 && node["memory_bytes"].as_u64().unwrap() > 0);
    assert_eq!(get(agent.port, "/healthz").body, "ok\n");
    assert!(get(agent.port, "/metrics").body.contains("ostler_agent_replicas{phase=\"running\"} 0"));
    assert_eq!(call(agent.port, "HEAD", "/healthz", &[], b"").status, 200);
}

/// Method, path, header lines, body, and the status of the answer.
type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [u8], u16);

fn bad_calls() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let id = new_id();
    let logs_of_nobody = format!("/v1/replicas/{id}/logs");
    let tunnel_to_nobody = format!("/v1/replicas/{id}/tunnel");
    let upgrade = ["upgrade: ostler-tunnel", "connection: upgrade"];
    let deep = "[".repeat(200_000);
    let cases: [Case<'_>; 20] = [
        ("GET", "/", &[], b"", 404),
        ("GET", "/v1/nope", &[], b"", 404),
        ("GET", "/v1/node/", &[], b"", 404),
        ("POST", "/v1/node", &[], b"{}", 405),
        ("POST", "/v1/assignment", &[], b"{}", 405),
        ("GET", "/v1/assignment", &[], b"", 405),
        ("PUT", "/v1/assignment", &[], b"", 400),
        ("PUT", "/v1/assignment", &[], b"{", 400),
        ("PUT", "/v1/assignment", &[], b"{}", 400),
        ("PUT", "/v1/assignment", &[], b"\xff\xfe", 400),
        ("PUT", "/v1/assignment", &[], deep.as_bytes(), 400),
        ("PUT", "/v1/assignment", &["content-length: 16777217"], b"", 413),
        ("GET", &logs_of_nobody, &[], b"", 404),
        ("GET", &tunnel_to_nobody, &[], b"", 426),
        ("GET", &tunnel_to_nobody, &upgrade, b"", 404),
        ("GET", "/v1/replicas/..%2f..%2fetc/logs", &[], b"", 404),
        ("GET", "/v1/node", &["host: evil.example"], b"", 403),
        ("GET", "/v1/node", &["origin: http://evil.example"], b"", 403),
        ("GET", "/v1/node", &["sec-fetch-site: cross-site"], b"", 403),
        ("PUT", "/v1/assignment", &["origin: http://evil.example"], b"{}", 403),
    ];
    for (method, path, headers, body, status) in cases {
        let answer = call(agent.port, method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        assert_eq!(answer.json()["status"], status);
        assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    // A body that says nothing of its length is cut at the limit as well.
    let mut stream = http::connect(agent.port);
    write!(stream, "PUT /v1/assignment HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    for _ in 0..17 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(get(agent.port, "/healthz").status, 200);
    assert!(agent.replicas().is_empty());
}

fn fencing() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let command = json!({ "app0@1": { "command": [this_program(), "replica", "echo"], "grace_ms": 400 } });
    agent.assign(&[&[&this_program(), "replica", "echo"]]);
    let pid = agent.wait_ready(1)[0];
    let older = agent.put(json!({ "epoch": 0 }));
    assert_eq!((older.status, older.json()["held"]["stamp"].clone()), (409, json!({ "epoch": 1, "generation": 1 })));
    assert_eq!(older.json()["held"]["cluster"], CLUSTER);
    let other = new_id();
    assert_eq!(agent.put(json!({ "cluster": other, "epoch": 9 })).status, 409);
    assert_eq!(agent.put(json!({ "requires": ["what-no-agent-can"] })).status, 422);
    let replica = json!([{ "id": new_id(), "app": "absent", "revision": 1, "phase": "run" }]);
    assert_eq!(agent.put(json!({ "replicas": replica })).status, 422);
    assert_eq!(agent.wait_ready(1), [pid]);
    // Taken over: what ran is stopped, and the other cluster's runs.
    let id = new_id();
    agent.ids.push(id.clone());
    let replica = json!([{ "id": id, "app": "app0", "revision": 1, "phase": "run" }]);
    let taken = agent.put(json!({ "cluster": other, "epoch": 1, "take_over": true, "specs": command, "replicas": replica }));
    assert_eq!(taken.status, 202, "{}", taken.body);
    assert_eq!(get(agent.port, "/v1/node").json()["cluster"], other);
    agent.wait("the other's is the only one", |replicas| {
        (replicas.len() == 1 && replicas[0]["id"] == id && replicas[0]["ready"] == true).then_some(())
    });
}

fn observers() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let mut observer = Observer::new(agent.port);
    let first = observer.next().unwrap();
    assert_eq!((first["seq"].as_u64(), first["snapshot"]["replicas"].as_array().unwrap().len()), (Some(1), 0));
    assert!(first["applied"].is_null() && first["cluster"].is_null());
    let id = agent.assign(&[&[&this_program(), "replica", "echo"]]).remove(0);
    let lines: Vec<serde_json::Value> =
        std::iter::from_fn(|| observer.next()).take_while(|line| line["replica"]["ready"] != true).collect();
    assert!(lines.iter().any(|line| line["replica"]["phase"] == "starting" && line["replica"]["id"] == id));
    let began = std::time::Instant::now();
    let beat = std::iter::from_fn(|| observer.next()).find(|line| line.get("heartbeat").is_some()).unwrap();
    assert!(began.elapsed() <= Duration::from_secs(5));
    assert_eq!((beat["applied"]["generation"].as_u64(), beat["cluster"].as_str()), (Some(1), Some(CLUSTER)));
    let mut held: Vec<Observer> = (0..15).map(|_| Observer::new(agent.port)).collect();
    let answer = get(agent.port, "/v1/observe");
    assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/problem+json")));
    held.clear();
    wait_for("there is room again", Duration::from_secs(5), || {
        let mut stream = http::connect(agent.port);
        write!(stream, "GET /v1/observe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        (http::head_of(&mut BufReader::new(stream)).0 == 200).then_some(())
    });
}

fn slow_observer() {
    let home = Home::new();
    let agent = Agent::start_with(&home, |command| {
        command.env("PATH", (0..100).map(|n| format!("/{n:x>99}:")).collect::<String>());
    });
    let mut quick = Observer::new(agent.port);
    // A small window, so that little is on its way.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2048).unwrap();
    rustix::net::connect(&socket, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, agent.port)).unwrap();
    let mut slow = std::net::TcpStream::from(socket);
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(slow, "GET /v1/observe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    // Replicas that fail again and again, each time with a sentence that names every directory of a long PATH.
    let ids: Vec<String> = (0..100).map(|_| new_id()).collect();
    let specs =
        json!({ "app0@1": { "command": ["no-such-program"], "restart": { "first_ms": 0, "max_ms": 0, "reset_after_ms": 10_000 } } });
    let replicas: Vec<_> = ids.iter().map(|id| json!({ "id": id, "app": "app0", "revision": 1, "phase": "run" })).collect();
    assert_eq!(agent.put(json!({ "specs": specs, "replicas": replicas })).status, 202);
    let reader = std::thread::spawn(move || while quick.next().is_some() {});
    wait_for("the slow one is cut off", Duration::from_secs(60), || {
        get(agent.port, "/metrics").body.contains("\nostler_agent_observers_cut_total 1\n").then_some(())
    });
    let mut got = Vec::new();
    let _ = slow.read_to_end(&mut got);
    assert_eq!(get(agent.port, "/healthz").status, 200);
    assert!(!reader.is_finished());
    drop(agent);
    reader.join().unwrap();
}

fn tunnel() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = agent.assign(&[&[&this_program(), "replica", "echo"]]).remove(0);
    agent.wait_ready(1);
    let mut stream = http::connect(agent.port);
    write!(stream, "GET /v1/replicas/{id}/tunnel HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: ostler-tunnel\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (status, headers) = http::head_of(&mut reader);
    assert_eq!(status, 101);
    assert!(headers.contains(&("upgrade".to_owned(), "ostler-tunnel".to_owned())));
    for size in [1, 1000, 100_000] {
        let sent = vec![b'x'; size];
        stream.write_all(&sent).unwrap();
        let mut got = vec![0; size];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(sent, got);
    }
    // The end of one direction is passed on, and comes back when the replica has answered.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

fn logs() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = agent.assign(&[&["sh", "-c", "echo out; echo err >&2; sleep 0.3; echo later; exec sleep 1000"]]).remove(0);
    agent.wait("it runs", |replicas| replicas[0]["pid"].as_u64());
    let path = format!("/v1/replicas/{id}/logs");
    wait_for("it has written", Duration::from_secs(5), || (get(agent.port, &path).body == "out\nerr\n").then_some(()));
    assert_eq!(get(agent.port, &format!("{path}?stream=stderr")).body, "err\n");
    assert_eq!(get(agent.port, &format!("{path}?tail=x")).status, 400);
    let mut stream = http::connect(agent.port);
    write!(stream, "GET {path}?follow=true&tail=0 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(http::head_of(&mut reader).0, 200);
    assert_eq!(http::chunk_of(&mut reader).unwrap(), b"later\n");
    assert_eq!(agent.put(json!({})).status, 202);
    assert_eq!(http::chunk_of(&mut reader), None);
    for bad in ["since=yesterday", "timestamps=1", "follow=yes", "nope=1"] {
        let answer = get(agent.port, &format!("{path}?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.json()["detail"].as_str().unwrap().contains('\n'), "{bad}");
    }
}

fn one_agent_per_directory_and_port() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let second = |args: &[&str]| {
        let output = std::process::Command::new(this_program()).arg("agent").args(args).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().find(|line| line.starts_with("error: ")).unwrap().to_owned()
    };
    let runtime = home.runtime();
    let message = second(&[runtime.to_str().unwrap()]);
    assert!(message.contains(runtime.to_str().unwrap()), "{message}");
    let dir = tempfile::tempdir().unwrap();
    let message = second(&[dir.path().join("x").to_str().unwrap(), &agent.port.to_string()]);
    assert!(message.contains(&agent.port.to_string()), "{message}");
    assert_eq!(get(agent.port, "/healthz").status, 200);
}
