//! No wait is without a deadline.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use gateway::{Config, Face, Limits};

use crate::client::{Client, until};
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn limits() -> Limits {
    Limits { first_byte_ms: 300, head_ms: 300, body_idle_ms: 300, client_idle_ms: 300, ..Limits::default() }
}

#[test]
fn a_replica_that_says_nothing_is_a_504() {
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::with(1, limits(), Face::Apps);
    rig.publish(vec![direct(1, &silent)]);
    let began = Instant::now();
    let mut client = rig.client();
    assert!(client.get("/").problem(504).contains("no answer within 300 ms"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    // The client's own connection lives on.
    client.get("/").problem(504);
}

#[test]
fn a_client_that_says_nothing_or_half_a_head_is_let_go() {
    let replica = Upstream::named("ok");
    let rig = Rig::with(1, limits(), Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut silent = rig.client();
    let mut half = rig.client();
    half.send("GET / HTTP/1.1\r\nHo");
    let mut trickling = rig.client();
    let mut idle = rig.client();
    assert_eq!(idle.get("/").body, "ok");
    let mut blank = rig.client();
    blank.send("\r\n");
    assert!(silent.has_ended() && idle.has_ended());
    // RFC 9110 section 15.5.9: who has begun a request is told. An empty line begins none (RFC 9112 section 2.2).
    let answer = half.answer(false).unwrap();
    assert!(answer.problem(408).contains("300 ms"), "{answer:?}");
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(half.has_ended() && blank.has_ended());
    // A byte now and then does not prolong the time for a head.
    let began = Instant::now();
    while trickling.tcp.write_all(b"G").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "a head may trickle for ever");
        // It trickles.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_body_that_stands_still_is_cut() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.body(10);
            } else {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            }
        }
    });
    let rig = Rig::with(1, limits(), Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut uploading = rig.client();
    uploading.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    let mut downloading = rig.client();
    downloading.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(downloading.answer(false).is_err());
    // RFC 9110 section 15.5.9: nothing of an answer had gone out.
    let answer = uploading.answer(false).unwrap();
    assert!(answer.problem(408).contains("body"), "{answer:?}");
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(uploading.has_ended());
}

#[test]
fn a_body_that_stands_still_while_its_answer_goes_out_is_cut() {
    let replica =
        Upstream::start(|mut conn| while conn.head().is_some() && conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") {});
    let rig = Rig::with(1, limits(), Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.head().unwrap().status, 200);
    let mut body = [0; 10];
    assert!(client.tcp.read_exact(&mut body).is_err());
    assert_eq!(&body[..4], b"half");
}

#[test]
fn what_moves_slowly_is_not_cut() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            let body = conn.body(10).unwrap();
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
            for byte in body {
                conn.write([byte]);
                // Slowness is the point: ten of these are longer than the limit, each is shorter.
                std::thread::sleep(Duration::from_millis(60));
            }
        }
    });
    let rig = Rig::with(1, limits(), Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for byte in b"0123456789" {
        client.send([*byte]);
        // So it is in this direction.
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(client.answer(false).unwrap().body, "0123456789");
}

/// An address of this host that is not loopback. Nothing is sent to find it.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

#[test]
fn an_address_has_so_many_connections_over_all_threads_and_loopback_any_number() {
    let limits = Limits { connections_per_address_max: Some(3), ..Limits::default() };
    let replica = Upstream::named("ok");
    let rig = Rig::with(2, limits.clone(), Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut clients: Vec<Client> = (0..10).map(|_| rig.client()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").body == "ok"));

    // A host without a network has loopback alone.
    let Some(address) = outer_address() else { return };
    let rig = Rig::at(address, Config { threads: 2, limits, ..Config::default() }, Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut clients: Vec<Client> = (0..3).map(|_| rig.client()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").body == "ok"));
    for _ in 0..5 {
        let mut refused = rig.client();
        let answer = refused.answer(false).unwrap();
        assert!(answer.problem(503).contains("3 connections"), "{answer:?}");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(refused.has_ended());
    }
    assert!(clients.iter_mut().all(|client| client.get("/").body == "ok"), "those that are there are served");
    clients.pop();
    until("a place that was left", || rig.client().try_get("/").is_some_and(|answer| answer.status == 200));
}

#[test]
fn what_is_no_data_of_a_body_does_not_keep_a_client_waiting_for_ever() {
    // One byte after the other of an extension, or of a trailer, is no progress.
    let replica = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::with(1, Limits { body_idle_ms: 400, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    for begun in ["5;", "5\r\nhello\r\n0\r\nX: "] {
        let mut client = rig.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{begun}"));
        let dripped = (0..200).find(|_| {
            client.send("a");
            client.hears_within(Duration::from_millis(50))
        });
        assert!(dripped.is_some(), "{begun:?} goes on for ever");
        client.answer(false).unwrap().problem(408);
    }
}
