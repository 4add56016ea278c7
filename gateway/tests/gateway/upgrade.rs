//! Connections that change to another protocol.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::client::Client;
use crate::rig::{Rig, direct, key};
use crate::upstream::Upstream;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

fn echoing() -> Upstream {
    Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\nfirst ",
            );
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = conn.tcp.read(&mut buffer) {
                if !conn.write(&buffer[..count]) {
                    return;
                }
            }
            conn.write(" last");
            conn.end();
        }
    })
}

#[test]
fn after_a_101_bytes_go_both_ways_until_both_sides_have_ended() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    // The client does not wait for the 101 with what follows.
    client.send(format!("{ASK}early "));
    let head = client.head().unwrap();
    assert_eq!(head.status, 101);
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(head.field("sec-websocket-accept"), Some("a"));
    client.send("later");
    let mut got = [0; 17];
    client.tcp.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"first early later");
    rig.publish(Vec::new());
    assert_eq!(rig.gateway.ack().in_flight, [(key(1), 1)].into());
    client.tcp.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.tcp.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " last");
    rig.await_ack("the tunnel is over", |ack| ack.in_flight.is_empty());
    let head = replica.heads()[0].to_lowercase();
    assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
}

#[test]
fn a_replica_that_does_not_change_answers_as_ever() {
    let replica = Upstream::named("plain");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(ASK);
        assert_eq!(client.answer(false).unwrap().body, "plain");
    }
    client.send(ASK.replace("keep-alive, Upgrade", "close, Upgrade"));
    assert_eq!(client.answer(false).unwrap().body, "plain");
    assert!(client.has_ended());
    assert_eq!(replica.connections(), 1);
}

#[test]
fn a_large_answer_to_a_refused_upgrade_is_whole() {
    const LARGE: usize = 4 * 1024 * 1024;
    let replica = Upstream::start(|mut conn| {
        conn.head();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        conn.write(vec![b'x'; LARGE]);
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = Client::narrow(rig.addr);
    client.send(ASK.replace("keep-alive, Upgrade", "close, Upgrade"));
    assert_eq!(client.answer(false).unwrap().body.len(), LARGE);
}

#[test]
fn a_protocol_change_that_nobody_asked_for_is_a_502() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    assert!(rig.get("/").problem(502).contains("without being asked"));
    // RFC 9110 section 7.8: to one of those that were named.
    let mut client = rig.client();
    client.send(ASK.replace("websocket", "another"));
    client.answer(false).unwrap().problem(502);
    // Neither is HTTP/2 in the clear passed on.
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
    client.answer(false).unwrap().problem(502);
    let head = replica.heads()[2].to_lowercase();
    assert!(!head.contains("h2c") && !head.contains("http2-settings"), "{head}");
}

#[test]
fn a_client_that_vanishes_ends_the_replicas_side() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    client.tcp.write_all(b"x").unwrap();
    rig.publish(Vec::new());
    socket2::SockRef::from(&client.tcp).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    rig.await_ack("the tunnel is over", |ack| ack.in_flight.is_empty());
}
