//! Waiting for a ready replica.

use std::time::{Duration, Instant};

use cluster::route::{RoutingTable, Target};
use gateway::{Face, Limits};

use crate::client::{Client, until};
use crate::rig::{Rig, direct, refusing, route};
use crate::upstream::Upstream;

#[test]
fn a_request_waits_for_the_first_ready_replica() {
    let replica = Upstream::named("ready");
    let rig = Rig::new(2);
    rig.publish_table(rig.table(1, Vec::new()));
    let mut clients: Vec<Client> = (0..8).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    }
    // Another table without replicas changes nothing.
    rig.publish_table(rig.table(2, Vec::new()));
    rig.publish(vec![direct(1, &replica)]);
    for client in &mut clients {
        assert_eq!(client.answer(false).unwrap().body, "ready");
    }
}

#[test]
fn a_request_waits_for_the_replacement_of_the_only_replica() {
    let (_held, port) = refusing();
    let replica = Upstream::named("replacement");
    let rig = Rig::new(1);
    rig.publish(vec![route(1, Target::Loopback(port))]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.publish(vec![direct(2, &replica)]);
    assert_eq!(client.answer(false).unwrap().body, "replacement");
}

#[test]
fn a_request_that_has_waited_long_enough_is_told_when_to_try_again() {
    let rig = Rig::with(1, Limits { hold_ms: 200, ..Limits::default() }, Face::Apps);
    rig.publish_table(rig.table(1, Vec::new()));
    let began = Instant::now();
    let answer = rig.get("/");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(answer.field("retry-after"), Some("1"));
    let detail = answer.problem(503);
    assert!(detail.contains("app worker became ready within 200 ms"), "{detail}");
    // HEAD gets the head of that.
    let head = rig.client().request("HEAD /", "", "");
    assert_eq!((head.status, head.field("content-length")), (503, answer.field("content-length")));
}

#[test]
fn the_time_to_find_a_replica_does_not_begin_again_with_each_table() {
    let rig = Rig::with(1, Limits { hold_ms: 300, ..Limits::default() }, Face::Apps);
    let (_held, port) = refusing();
    rig.publish(vec![route(1, Target::Loopback(port))]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.tcp.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let mut number = 1;
    until("it is told", || {
        number += 1;
        rig.publish(vec![route(number, Target::Loopback(port))]);
        client.tcp.peek(&mut [0]).is_ok()
    });
    assert!(began.elapsed() >= Duration::from_millis(300));
    client.tcp.set_nonblocking(false).unwrap();
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert!(answer.problem(503).contains("could be reached within 300 ms"));
}

#[test]
fn no_more_requests_wait_than_allowed_over_all_threads() {
    let replica = Upstream::named("ready");
    let rig = Rig::with(2, Limits { hold_max: 3, ..Limits::default() }, Face::Apps);
    // The second time shows that those who waited have left.
    for _ in 0..2 {
        rig.publish_table(rig.table(1, Vec::new()));
        std::thread::scope(|scope| {
            let requests: Vec<_> = (0..8).map(|_| scope.spawn(|| rig.get("/"))).collect();
            until("five are refused", || requests.iter().filter(|request| request.is_finished()).count() == 5);
            rig.publish(vec![direct(1, &replica)]);
            let answers: Vec<_> = requests.into_iter().map(|request| request.join().unwrap()).collect();
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                assert_eq!(answer.field("retry-after"), Some("1"));
                assert!(answer.problem(503).contains("3 requests wait"));
            }
        });
    }
}

#[test]
fn an_app_that_is_scaled_to_0_is_refused_at_once_by_the_call_that_starts_it() {
    let rig = Rig::new(1);
    rig.publish_table(rig.table(0, Vec::new()));
    let detail = rig.get("/").problem(503);
    assert!(detail.contains(r#"POST /scale {"count": 1}"#), "{detail}");
}

#[test]
fn without_a_table_or_an_app_there_is_a_problem_too() {
    let rig = Rig::with(1, Limits { hold_ms: 100, ..Limits::default() }, Face::Apps);
    assert!(rig.get("/").problem(503).contains("does not know the apps yet"));
    let mut table = rig.table(1, Vec::new());
    table.fallback = None;
    rig.publish_table(table);
    assert!(rig.get("/nowhere").problem(404).contains("/nowhere"));
    rig.publish_table(RoutingTable { version: 7, ..RoutingTable::default() });
    assert!(rig.get("/").problem(503).contains("no app here"));
}

#[test]
fn a_request_waits_for_the_first_table() {
    let replica = Upstream::named("ready");
    let rig = Rig::new(1);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.publish(vec![direct(1, &replica)]);
    assert_eq!(client.answer(false).unwrap().body, "ready");
}
