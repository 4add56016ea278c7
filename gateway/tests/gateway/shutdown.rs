//! Stopping.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use gateway::{Config, Error, Face, Gateway, listen};

use crate::client::DEADLINE;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn shut_down(gateway: Gateway, deadline: Duration) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(gateway.shutdown(deadline));
}

#[test]
fn a_stop_finishes_what_is_under_way_and_ends_what_is_idle() {
    let (finish, finishing) = mpsc::channel::<()>();
    let finishing = std::sync::Mutex::new(finishing);
    let replica = Upstream::start(move |mut conn| {
        while let Some(head) = conn.head() {
            if head.contains("/slow") {
                finishing.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            }
            conn.answer("done");
        }
    });
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &replica)]);
    let mut idle = rig.client();
    assert_eq!(idle.get("/").body, "done");
    let mut busy = rig.client();
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    replica.await_requests(2);
    let addr = rig.addr;
    let stopping = std::thread::spawn(move || shut_down(rig.gateway, DEADLINE));
    assert!(idle.has_ended());
    assert!(!stopping.is_finished());
    finish.send(()).unwrap();
    let answer = busy.answer(false).unwrap();
    assert_eq!((answer.body.as_str(), answer.field("connection")), ("done", Some("close")));
    assert!(busy.has_ended());
    stopping.join().unwrap();
    // The port is free.
    listen::bind(addr, 1).unwrap();
}

#[test]
fn a_stop_cuts_what_does_not_finish_in_time() {
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &silent)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.await_requests(1);
    let began = Instant::now();
    shut_down(rig.gateway, Duration::from_millis(100));
    assert!(began.elapsed() >= Duration::from_millis(100) && began.elapsed() < Duration::from_secs(5));
    assert!(client.answer(false).is_err());
}

#[test]
fn a_gateway_that_is_dropped_joins_its_threads() {
    let rig = Rig::new(2);
    let addr = rig.addr;
    let mut client = rig.client();
    drop(rig);
    assert!(client.has_ended());
    listen::bind(addr, 1).unwrap();
}

#[test]
fn a_door_needs_a_listener_for_each_thread() {
    let listeners = listen::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let started = Gateway::start(Config { threads: 2, ..Config::default() }, vec![(listeners, Face::Apps)]);
    assert!(matches!(started, Err(Error::Doors { threads: 2, listeners: 1 })));
}
