//! Many requests on one connection, on either side (RFC 9112 section 9.3).

use std::io::Read;

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// Section 9.3.2: answers come in the order of the requests.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.body(3);
            }
            conn.answer(head.split(' ').nth(1).unwrap());
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    let mut sent = String::new();
    for number in 0..200 {
        match number % 3 {
            0 => sent += &format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => sent += &format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"),
            _ => sent += &format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1_000)),
        }
    }
    let mut writing = client.tcp.try_clone().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut writing, sent.as_bytes()).unwrap());
    for number in 0..200 {
        assert_eq!(client.answer(false).unwrap().body, format!("/{number}"));
    }
    writer.join().unwrap();
    assert_eq!(replica.requests(), 200);
}

/// What is malformed behind a good request does not cost its answer.
#[test]
fn what_follows_a_good_request_is_refused_behind_its_answer() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer(false).unwrap().body, "ok");
    client.answer(false).unwrap().problem(400);
    assert!(client.has_ended());
    assert_eq!(replica.requests(), 1);
}

/// CVE-2026-2833 (Pingora), RFC 9112 section 9.2: bytes that nobody asked for belong to nobody.
#[test]
fn a_connection_with_unread_bytes_is_not_used_again() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.contains("/more") {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
            } else {
                conn.answer("clean");
            }
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..3 {
        assert_eq!(client.get("/more").body, "ok");
        assert_eq!(client.get("/").body, "clean");
    }
}

/// The same, when they come while the connection is idle.
#[test]
fn a_connection_whose_replica_speaks_unasked_is_not_used_again() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            conn.answer("clean");
            if head.contains("/408") {
                conn.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    assert_eq!(client.get("/408").body, "clean");
    // A moment later it is there; a POST looks for it whatever the moment.
    crate::client::until("the 408 was seen", || {
        let answer = client.post("/", "");
        assert!(answer.status != 408);
        replica.connections() > 1 || answer.body == "clean"
    });
}

#[test]
fn a_replicas_connection_ends_when_it_says_so() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let version = if head.contains("/10") { "HTTP/1.0" } else { "HTTP/1.1" };
            let connection = if head.contains("/close") {
                "Connection: close\r\n"
            } else if head.contains("/keep") {
                "Connection: keep-alive\r\n"
            } else {
                ""
            };
            conn.write(format!("{version} 200 OK\r\n{connection}Content-Length: 2\r\n\r\nok"));
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for (path, connections) in [("/", 1), ("/close", 1), ("/", 2), ("/10", 2), ("/10/keep", 3), ("/", 3)] {
        assert_eq!(client.get(path).body, "ok");
        assert_eq!(replica.connections(), connections, "{path}");
    }
}

/// RFC 9110 section 6.4.1: what follows a HEAD's answer is no body.
#[test]
fn a_replica_that_sends_a_body_to_head_does_not_poison_the_connection() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            conn.answer(if head.starts_with("HEAD") { "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison" } else { "clean" });
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    assert_eq!(client.request("HEAD /", "", "").status, 200);
    assert_eq!(client.get("/").body, "clean");
}

#[test]
fn large_bodies_of_each_kind_go_through() {
    const LARGE: usize = 1_000_000;
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let body: Vec<u8> = (0..LARGE).map(|at| b'a' + (at % 23) as u8).collect();
            if head.contains("/chunked") {
                conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for part in body.chunks(77_777) {
                    conn.write(format!("{:X}\r\n", part.len()));
                    conn.write(part);
                    conn.write("\r\n");
                }
                conn.write("0\r\n\r\n");
            } else if head.contains("/end") {
                conn.write("HTTP/1.1 200 OK\r\n\r\n");
                conn.write(&body);
                return conn.end();
            } else {
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                conn.write(&body);
            }
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let expected: String = (0..LARGE).map(|at| (b'a' + (at % 23) as u8) as char).collect();
    for path in ["/length", "/chunked", "/end"] {
        assert!(rig.get(path).body == expected, "{path}");
        let mut client = rig.client();
        let mut all = String::new();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).tcp.read_to_string(&mut all).unwrap();
        assert!(all.ends_with(&expected) && all.len() < LARGE + 200, "{path}");
    }
}
