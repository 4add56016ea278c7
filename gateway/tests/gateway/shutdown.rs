//! Stopping.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cluster::route::RoutingTable;
use gateway::inherited::Inherited;
use gateway::{Config, Door, Error, Face, Gateway, listen};

use crate::client::{Client, DEADLINE};
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

/// RFC 9112 section 9.3.1: a request on a kept connection may be on its way when the gateway is told to end.
#[test]
fn a_stop_leaves_a_connection_that_was_just_in_use_time_for_one_more_request() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut old = rig.client();
    assert_eq!(old.get("/").body, "ok");
    // That it rests is the point.
    std::thread::sleep(Duration::from_millis(1_500));
    let mut recent = rig.client();
    assert_eq!(recent.get("/").body, "ok");
    let mut fresh = rig.client();
    let mut quiet = rig.client();
    assert_eq!(quiet.get("/").body, "ok");
    let began = Instant::now();
    let stopping = std::thread::spawn(move || shut_down(rig.gateway, DEADLINE));
    assert!(old.has_ended());
    for client in [&mut recent, &mut fresh] {
        let answer = client.post("/", "more");
        assert_eq!((answer.body.as_str(), answer.field("connection")), ("ok", Some("close")));
        assert!(client.has_ended());
    }
    assert!(quiet.has_ended());
    stopping.join().unwrap();
    assert!(began.elapsed() < DEADLINE / 2, "nobody kept it from ending");
}

/// Whoever has connected to a port of our own is served, and not reset with the port.
#[test]
fn a_stop_serves_who_waits_at_the_door() {
    let listeners = listen::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let addr = listeners[0].local_addr().unwrap();
    // There is no app, and that is an answer. They wait before the gateway is there, and are more than it takes in at one go before it hears that it is to end.
    let mut waiting: Vec<Client> = (0..300).map(|_| Client::connect(addr)).collect();
    for client in &mut waiting {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    }
    let gateway = Gateway::start(Config { threads: 1, ..Config::default() }, vec![Door::new(listeners, Face::Apps)]).unwrap();
    let rig = Rig::of(gateway, addr);
    rig.gateway.publish(std::sync::Arc::new(RoutingTable { apps: BTreeMap::new(), ..rig.table(1, vec![]) }));
    shut_down(rig.gateway, DEADLINE);
    for client in &mut waiting {
        client.answer(false).unwrap().problem(503);
    }
}

/// A socket that somebody else keeps outlives the gateway with its queue.
#[test]
fn who_waits_at_a_door_that_was_handed_over_is_served_by_the_next_gateway() {
    let replica = Upstream::named("ok");
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = kept.local_addr().unwrap();
    let start = || {
        let listeners = Inherited::new(kept.try_clone().unwrap(), None).unwrap().share(2).unwrap();
        let door = Door { listeners, face: Face::Apps, is_inherited: true };
        let rig = Rig::of(Gateway::start(Config { threads: 2, ..Config::default() }, vec![door]).unwrap(), addr);
        rig.publish(vec![direct(1, &replica)]);
        rig
    };
    let rig = start();
    assert_eq!(rig.get("/").body, "ok");
    shut_down(rig.gateway, DEADLINE);
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(addr)).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let _rig = start();
    for client in &mut waiting {
        assert_eq!(client.answer(false).unwrap().body, "ok");
    }
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
    let started = Gateway::start(Config { threads: 2, ..Config::default() }, vec![Door::new(listeners, Face::Apps)]);
    assert!(matches!(started, Err(Error::Doors { threads: 2, listeners: 1 })));
}
