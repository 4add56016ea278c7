//! Whose turn it is.

use std::collections::BTreeMap;

use std::sync::mpsc;
use std::time::Duration;

use crate::client::DEADLINE;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn tally(answers: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer).or_default() += 1;
    }
    tally
}

#[test]
fn forty_requests_over_four_replicas_are_ten_each_whatever_thread_serves_them() {
    let replicas = ["a", "b", "c", "d"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    // A new connection each: the kernel spreads them over the threads.
    let counts = tally((0..40).map(|_| rig.get("/").body));
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10; 4], "{counts:?}");
    // On one connection too.
    let mut client = rig.client();
    let counts = tally((0..40).map(|_| client.get("/").body));
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10; 4], "{counts:?}");
}

#[test]
fn turns_stay_exact_under_concurrent_clients() {
    let replicas = ["a", "b", "c", "d"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = rig.client();
                for _ in 0..50 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    assert_eq!(replicas.each_ref().map(Upstream::requests), [100; 4]);
}

#[test]
fn a_table_change_does_not_start_the_round_again() {
    let replicas = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(2);
    for _ in 0..10 {
        rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
        assert_eq!(rig.get("/").status, 200);
    }
    assert_eq!(replicas.each_ref().map(Upstream::requests), [5; 2]);
}

#[test]
fn a_last_choice_gets_requests_only_when_nothing_else_does() {
    let replicas = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(1);
    let mut routes = vec![direct(1, &replicas[0]), direct(2, &replicas[1])];
    routes[0].last_choice = true;
    rig.publish(routes.clone());
    assert_eq!(tally((0..4).map(|_| rig.get("/").body)), BTreeMap::from([("b".to_owned(), 4)]));
    routes[1].last_choice = true;
    rig.publish(routes);
    assert_eq!(tally((0..4).map(|_| rig.get("/").body)), BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
}

#[test]
fn a_connection_ends_when_it_was_idle_for_too_long_or_its_replica_left() {
    let (ended, endings) = mpsc::channel();
    let replica = Upstream::start(move |mut conn| {
        while conn.head().is_some() && conn.answer("a") {}
        ended.send(()).unwrap();
    });
    let rig = Rig::new(1);
    let mut table = rig.table(1, vec![direct(1, &replica)]);
    table.apps.values_mut().for_each(|app| app.keepalive_idle_ms = 100);
    rig.publish_table(table);
    rig.get("/");
    endings.recv_timeout(DEADLINE).unwrap();
    rig.publish(vec![direct(1, &replica)]);
    rig.get("/");
    assert!(endings.try_recv().is_err());
    rig.publish(Vec::new());
    endings.recv_timeout(Duration::from_secs(2)).unwrap();
}

#[test]
fn what_must_not_be_sent_twice_does_not_go_out_on_a_connection_that_was_idle_for_long() {
    let replica = Upstream::named("a");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    rig.get("/");
    // So long that the replica is seen to keep it.
    std::thread::sleep(Duration::from_millis(2_000));
    rig.get("/");
    rig.client().post("/", "");
    assert_eq!(replica.connections(), 1);
    // A second is the point of this test.
    std::thread::sleep(Duration::from_millis(1_050));
    rig.client().post("/", "");
    assert_eq!(replica.connections(), 2);
}

#[test]
fn connections_to_replicas_are_kept() {
    let replica = Upstream::named("a");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for _ in 0..20 {
        assert_eq!(rig.get("/").body, "a");
    }
    assert_eq!(replica.connections(), 1);
}
