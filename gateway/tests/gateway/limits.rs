//! No wait is without a deadline.

use std::io::Write;
use std::time::{Duration, Instant};

use gateway::{Face, Limits};

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
    assert!(silent.has_ended() && half.has_ended() && idle.has_ended());
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
    assert!(uploading.answer(false).is_err());
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
