//! Clients of HTTP/1.0 (RFC 9112 sections 9.3 and appendix C.2).

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn rig() -> (Upstream, Rig) {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            conn.write(if head.contains("/chunked") {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            });
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    (replica, rig)
}

#[test]
fn its_connection_lives_on_only_if_it_asks_and_the_answer_has_a_length() {
    let (replica, rig) = rig();
    let mut client = rig.client();
    assert_eq!(client.tap("GET / HTTP/1.0\r\n\r\n").body, "ok");
    assert!(client.has_ended());
    let mut client = rig.client();
    for _ in 0..3 {
        let answer = client.tap("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!((answer.body.as_str(), answer.field("connection")), ("ok", Some("keep-alive")));
    }
    let answer = client.tap("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((answer.body.as_str(), answer.field("connection"), answer.field("transfer-encoding")), ("ok", Some("close"), None));
    assert!(client.has_ended());
    let mut client = rig.client();
    client.tap("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
    assert!(client.has_ended());
    assert!(replica.heads().iter().all(|head| head.contains(" HTTP/1.1\r\n") && !head.to_lowercase().contains("connection:")));
    assert_eq!(replica.connections(), 1);
}

#[test]
fn a_connection_of_http_1_1_ends_when_that_is_asked_for() {
    let (_replica, rig) = rig();
    for option in ["close", "Close", "x, close", "keep-alive, close"] {
        let mut client = rig.client();
        let answer = client.request("GET /", &format!("Connection: {option}\r\n"), "");
        assert_eq!((answer.body.as_str(), answer.field("connection")), ("ok", Some("close")));
        assert!(client.has_ended(), "{option}");
    }
}

#[test]
fn a_problem_is_told_in_its_version_too() {
    let rig = Rig::new(1);
    rig.publish_table(rig.table(0, Vec::new()));
    let mut client = rig.client();
    let answer = client.tap("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.head.starts_with("HTTP/1.1 503 "), "{answer:?}");
    client.tap("GET / HTTP/1.0\r\n\r\n").problem(503);
    assert!(client.has_ended());
}

/// It cannot change the protocol (RFC 9110 section 7.8).
#[test]
fn an_upgrade_of_http_1_0_is_ignored() {
    let (replica, rig) = rig();
    let mut client = rig.client();
    assert_eq!(client.tap("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").body, "ok");
    assert!(!replica.heads()[0].to_lowercase().contains("upgrade"));
}
