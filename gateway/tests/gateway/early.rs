//! Answers that come before the request was sent entirely.

use std::io::Read;

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// RFC 9112 section 9.3: whoever has answered may not read on; what is left of the body must not be read as a request.
#[test]
fn an_early_answer_ends_the_connection_and_is_told_so() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.answer("early");
            let mut rest = Vec::new();
            let _ = conn.tcp.read_to_end(&mut rest);
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /");
    let answer = client.answer(false).unwrap();
    assert_eq!((answer.body.as_str(), answer.field("connection")), ("early", Some("close")));
    client.send("smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.has_ended());
    assert_eq!(replica.requests(), 1);
}

/// A replica that answers and closes while the client still sends: the answer is there, whatever becomes of the sending.
#[test]
fn an_early_answer_survives_the_end_of_the_replicas_connection() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            conn.end();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for _ in 0..20 {
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
        let mut writing = client.tcp.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            for _ in 0..100 {
                if std::io::Write::write_all(&mut writing, &[b'x'; 100_000]).is_err() {
                    return;
                }
            }
        });
        let answer = client.answer(false).unwrap();
        // One that is reset before it was read may be lost on its way to us; it is never made up.
        assert!(answer.status == 413 || answer.status == 502, "{answer:?}");
        drop(client);
        writer.join().unwrap();
    }
}

/// RFC 9110 section 9.3.6 aside, a request is never given up because its client has nothing more to say (RFC 9112 section 9.6).
#[test]
fn a_client_that_has_ended_its_side_gets_its_answers() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let replica = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            released.lock().unwrap().recv().unwrap();
            conn.answer("late");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
    for number in 1..=2 {
        replica.await_requests(number);
        release.send(()).unwrap();
        assert_eq!(client.answer(false).unwrap().body, "late");
    }
    assert!(client.has_ended());
}

/// Nobody can tell whether a client that ended its side is still there: so it is given some time, and no more.
#[test]
fn a_client_that_has_ended_its_side_does_not_wait_for_ever() {
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let limits = gateway::Limits { half_closed_ms: 200, ..gateway::Limits::default() };
    let rig = Rig::with(1, limits, gateway::Face::Apps);
    rig.publish(vec![direct(1, &silent)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.await_requests(1);
    client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.has_ended());
    rig.publish(Vec::new());
    rig.await_ack("nothing in flight", |ack| ack.in_flight.is_empty());
}

/// A body that its client breaks off is never ended as if it were whole (RFC 9112 section 8).
#[test]
fn a_body_that_breaks_off_is_not_ended() {
    let (saw, seen) = std::sync::mpsc::channel();
    let replica = Upstream::start(move |mut conn| {
        if conn.head().is_some() {
            let mut all = String::new();
            let _ = conn.tcp.read_to_string(&mut all);
            saw.send(all).unwrap();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for (framing, sent) in [("Content-Length: 10", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        let mut client = rig.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{sent}"));
        client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
        client.answer(false).unwrap().problem(400);
        assert_eq!(seen.recv_timeout(crate::client::DEADLINE).unwrap(), sent);
    }
}

/// A stream that is quiet for long (server-sent events, a followed log) does not outlive its reader.
#[test]
fn a_client_that_leaves_a_quiet_stream_is_noticed() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            conn.head();
        }
    });
    let limits = gateway::Limits { half_closed_ms: 200, ..gateway::Limits::default() };
    let rig = Rig::with(1, limits, gateway::Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head().unwrap();
    assert_eq!(client.chunk().unwrap(), b"hello");
    rig.publish(Vec::new());
    drop(client);
    rig.await_ack("nothing in flight", |ack| ack.in_flight.is_empty());
}
