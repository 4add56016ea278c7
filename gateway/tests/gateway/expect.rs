//! Expectations (RFC 9110 section 10.1.1).

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

const ASK: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";

fn echoing() -> Upstream {
    Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.contains("\r\nexpect: 100-continue\r\n"), !head.contains("via: 1.0"), "{head}");
            let Some(body) = conn.body(5) else { return };
            conn.answer(&String::from_utf8(body).unwrap());
        }
    })
}

#[test]
fn a_client_is_asked_by_us_where_the_replica_does_not() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..2 {
        client.send(ASK);
        assert_eq!(client.head().unwrap().status, 100);
        client.send("hello");
        assert_eq!(client.answer(false).unwrap().body, "hello");
    }
    // One that does not wait is not asked.
    client.send(format!("{ASK}hello"));
    assert_eq!(client.answer(false).unwrap().body, "hello");
}

#[test]
fn nobody_is_asked_for_a_body_that_nobody_takes() {
    let rig = Rig::new(1);
    rig.publish_table(rig.table(0, Vec::new()));
    let mut client = rig.client();
    client.send(ASK);
    client.answer(false).unwrap().problem(503);
    assert!(client.has_ended(), "what would come next is a body or a request: nobody can tell");
}

#[test]
fn the_hundred_of_a_replica_is_not_said_twice() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 100 Continue\r\n\r\n");
            conn.body(5);
            conn.answer("ok");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.answer(false).unwrap().body, "ok");
}

#[test]
fn another_expectation_is_a_417() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    rig.refused(ASK.replace("100-Continue", "200-maybe"), 417);
    assert_eq!(replica.requests(), 0);
    // That of HTTP/1.0 is none.
    let mut client = rig.client();
    client.send(format!("{}hello", ASK.replace("HTTP/1.1", "HTTP/1.0")));
    assert_eq!(client.answer(false).unwrap().body, "hello");
}

#[test]
fn a_replica_that_wants_no_body_says_so_before_it_is_sent() {
    let replica = Upstream::start(|mut conn| {
        conn.head();
        conn.write("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
        conn.head();
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send(ASK);
    let answer = client.answer(false).unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.field("connection")), (401, "no", Some("close")));
    assert!(client.has_ended(), "what would come next is a body or a request: nobody can tell");
}
