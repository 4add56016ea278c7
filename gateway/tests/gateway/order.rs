//! The base of an ordered stop: versions acknowledged, requests in flight.

use std::sync::Arc;
use std::sync::mpsc;

use cluster::route::RouteAck;

use crate::client::{DEADLINE, until};
use crate::rig::{Rig, direct, key};
use crate::upstream::Upstream;

#[test]
fn what_was_left_out_is_in_flight_until_its_answers_are_passed_on_entirely() {
    let (finish, finishing) = mpsc::channel::<()>();
    let finishing = std::sync::Mutex::new(finishing);
    let leaving = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbeg");
            finishing.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.write("end");
        }
    });
    let staying = Upstream::named("staying");
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &leaving)]);
    assert_eq!(rig.gateway.ack(), RouteAck { version: 1, in_flight: [].into() });
    let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    leaving.await_requests(3);
    let version = rig.publish(vec![direct(2, &staying)]);
    assert_eq!(rig.gateway.ack(), RouteAck { version, in_flight: [(key(1), 3)].into() });
    assert_eq!(rig.get("/").body, "staying");
    for left in (0..3).rev() {
        finish.send(()).unwrap();
        rig.await_ack("one less in flight", |ack| ack.in_flight.get(&key(1)).copied().unwrap_or(0) == left);
    }
    assert_eq!(rig.gateway.ack(), RouteAck { version, in_flight: [].into() });
    for client in &mut clients {
        assert_eq!(client.answer(false).unwrap().body, "begend");
    }
    // Idle connections to what left are ended.
    assert_eq!(leaving.requests(), 3);
}

#[test]
fn a_waiter_is_woken_by_an_acknowledgement_and_by_the_end_of_a_request() {
    let (finish, finishing) = mpsc::channel::<()>();
    let finishing = std::sync::Mutex::new(finishing);
    let leaving = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            finishing.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.answer("done");
        }
    });
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &leaving)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    leaving.await_requests(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wait_for = |condition: &dyn Fn(&RouteAck) -> bool| {
        runtime.block_on(async {
            tokio::time::timeout(DEADLINE, async {
                while !condition(&rig.gateway.ack()) {
                    rig.gateway.ack_changed().await;
                }
            })
            .await
            .unwrap();
        });
    };
    let table = Arc::new(rig.table(1, Vec::new()));
    rig.gateway.publish(Arc::clone(&table));
    wait_for(&|ack| ack.version == table.version);
    assert_eq!(rig.gateway.ack().in_flight, [(key(1), 1)].into());
    finish.send(()).unwrap();
    wait_for(&|ack| ack.in_flight.is_empty());
    assert_eq!(client.answer(false).unwrap().body, "done");
}

#[test]
fn nothing_starts_on_a_replica_after_all_threads_have_acknowledged_its_leaving() {
    let replicas = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(2);
    let both = || vec![direct(1, &replicas[0]), direct(2, &replicas[1])];
    rig.publish(both());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = rig.client();
                while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
        for _ in 0..30 {
            rig.publish(vec![direct(2, &replicas[1])]);
            rig.await_ack("replica 1 is idle", |ack| !ack.in_flight.contains_key(&key(1)));
            let seen = replicas[0].requests();
            let others = replicas[1].requests();
            until("more requests go elsewhere", || replicas[1].requests() > others + 20);
            assert_eq!(replicas[0].requests(), seen, "a request began after the acknowledgement");
            rig.publish(both());
            until("it is back", || replicas[0].requests() > seen);
        }
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

#[test]
fn a_client_that_goes_away_leaves_nothing_in_flight() {
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &silent)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.await_requests(1);
    rig.publish(Vec::new());
    assert_eq!(rig.gateway.ack().in_flight, [(key(1), 1)].into());
    drop(client);
    rig.await_ack("nothing in flight", |ack| ack.in_flight.is_empty());
}
