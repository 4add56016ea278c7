//! Large bodies, slow readers: everything passes through, little is held.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::until;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

const LARGE: usize = 64 * 1024 * 1024;

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

fn block(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(pattern).collect()
}

#[test]
fn a_large_body_goes_through_whole_in_both_directions() {
    // Echoes while it reads, as it comes.
    let replica = Upstream::start(|mut conn| {
        conn.head();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let mut buffer = vec![0; 64 * 1024];
        let mut left = LARGE;
        while left > 0 {
            let count = conn.tcp.read(&mut buffer).unwrap();
            assert!(conn.write(&buffer[..count]));
            left -= count;
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut writing = client.tcp.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let mut at = 0;
        while at < LARGE {
            // A whole number of patterns, so that one block serves for all.
            let length = (251 * 256).min(LARGE - at);
            writing.write_all(&block(at, length)).unwrap();
            at += length;
        }
    });
    assert_eq!(client.head().unwrap().status, 200);
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while at < LARGE {
        let count = client.tcp.read(&mut buffer).unwrap();
        assert!(count > 0, "cut at {at}");
        assert!(buffer[..count].iter().enumerate().all(|(offset, byte)| *byte == pattern(at + offset)), "changed near {at}");
        at += count;
    }
    writer.join().unwrap();
}

/// Writes until nothing was taken for a while; returns how much was.
fn push_until_stuck(mut write: impl FnMut() -> usize) -> usize {
    let mut pushed = 0;
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        match write() {
            0 => std::thread::sleep(Duration::from_millis(1)),
            count => {
                pushed += count;
                last = Instant::now();
            }
        }
        assert!(pushed < 4 * LARGE, "nothing holds the writer back");
    }
    pushed
}

fn write_some(tcp: &mut std::net::TcpStream) -> usize {
    match tcp.write(&[b'x'; 16 * 1024]) {
        Ok(count) => count,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            0
        }
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_replica_back() {
    let pushed = Arc::new(AtomicUsize::new(usize::MAX));
    let replica = Upstream::start({
        let pushed = Arc::clone(&pushed);
        move |mut conn| {
            conn.head();
            conn.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            conn.tcp.set_nonblocking(true).unwrap();
            pushed.store(push_until_stuck(|| write_some(&mut conn.tcp)), Ordering::SeqCst);
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the replica is stuck", || pushed.load(Ordering::SeqCst) != usize::MAX);
    // What the kernel's buffers of two connections take, and little more.
    assert!(pushed.load(Ordering::SeqCst) < LARGE, "{} bytes were taken", pushed.load(Ordering::SeqCst));
}

#[test]
fn a_replica_that_does_not_read_holds_the_client_back() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let replica = Upstream::start(move |mut conn| {
        conn.head();
        let _ = released.lock().unwrap().recv();
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    client.tcp.set_nonblocking(true).unwrap();
    let pushed = push_until_stuck(|| write_some(&mut client.tcp));
    assert!(pushed < LARGE, "{pushed} bytes were taken");
    drop(release);
}

#[test]
fn what_comes_piece_by_piece_goes_on_piece_by_piece() {
    let (next, nexts) = std::sync::mpsc::channel::<()>();
    let nexts = std::sync::Mutex::new(nexts);
    let replica = Upstream::start(move |mut conn| {
        conn.head();
        conn.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..5 {
            conn.write(format!("7\r\nevent {number}\r\n"));
            if nexts.lock().unwrap().recv().is_err() {
                return;
            }
        }
        conn.write("0\r\n\r\n");
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    for number in 0..5 {
        // The next is sent only when this one has come.
        assert_eq!(client.chunk().unwrap(), format!("event {number}").into_bytes());
        next.send(()).unwrap();
    }
    assert!(client.chunk().unwrap().is_empty());
}

#[test]
fn an_early_answer_is_not_lost_to_a_client_that_goes_on_sending() {
    let rig = Rig::new(1);
    rig.publish_table(rig.table(0, Vec::new()));
    for _ in 0..20 {
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        for _ in 0..20 {
            client.send([b'x'; 20_000]);
        }
        client.answer(false).unwrap().problem(503);
    }
}

#[test]
fn an_answer_before_the_end_of_the_request_reaches_the_client_and_the_connection_is_not_used_again() {
    let (ended, has_ended) = std::sync::mpsc::channel();
    let replica = Upstream::start(move |mut conn| {
        if let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
                let mut rest = Vec::new();
                let _ = conn.tcp.read_to_end(&mut rest);
                ended.send(rest).unwrap();
            } else {
                conn.answer("next");
            }
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
    let answer = client.answer(false).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (413, "no"));
    // The client is still there, and could send more.
    assert_eq!(has_ended.recv_timeout(Duration::from_secs(3)).unwrap(), b"some");
    assert_eq!(rig.get("/").body, "next");
    assert_eq!(replica.connections(), 2);
}
