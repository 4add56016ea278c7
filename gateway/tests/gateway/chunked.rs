//! Chunks, strictly (RFC 9112 section 7.1).

use std::io::Read;

use crate::client::Client;
use crate::rig::{Rig, direct};
use crate::upstream::{Conn, Upstream};

/// Reads a chunked body with its trailers.
fn read_chunked(conn: &Conn) -> std::io::Result<(Vec<u8>, String)> {
    let mut client = Client { tcp: conn.tcp.try_clone().unwrap() };
    let mut body = Vec::new();
    loop {
        let chunk = client.chunk()?;
        if chunk.is_empty() {
            break;
        }
        body.extend(chunk);
    }
    let mut trailers = String::new();
    loop {
        let line = String::from_utf8(client.line_end()?).unwrap();
        if line == "\r\n" {
            return Ok((body, trailers));
        }
        trailers.push_str(&line);
    }
}

/// Answers by the body and the trailers that it got.
fn echoing() -> Upstream {
    Upstream::start(|mut conn| {
        while conn.head().is_some() {
            let Ok((body, trailers)) = read_chunked(&conn) else { return };
            conn.answer(&format!("{} {trailers}", String::from_utf8(body).unwrap()));
        }
    })
}

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// CVE-2025-4366 and its kin: what one reads as a size and another does not, parts the bytes at two places.
#[test]
fn a_malformed_chunk_is_refused() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for body in [
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "1_0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";a\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        // More than 63 bits hold.
        "8000000000000000\r\nhello\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
    ] {
        rig.refused(format!("{HEAD}{body}"), 400);
    }
    // Extensions and trailers are bounded (CVE-2023-39326).
    rig.refused(format!("{HEAD}5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000)), 400);
    rig.refused(format!("{HEAD}0\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 400);
    rig.refused(format!("{HEAD}0\r\n{}\r\n", "X: y\r\n".repeat(100)), 400);
    assert_eq!(replica.requests(), 0);
}

/// RFC 9110 section 6.5.1: what counts in a head alone would be taken for a head's by whoever merges trailers.
#[test]
fn a_trailer_names_nobody_and_describes_no_body() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let trailers = "X-Sum: 1\r\nAuthorization: a\r\ncookie: b\r\nContent-Type: c\r\ngrpc-status: 0\r\n";
    let answer = rig.client().tap(format!("{HEAD}5\r\nhello\r\n0\r\n{trailers}\r\n"));
    let got = answer.body.to_lowercase();
    assert!(got.starts_with("hello ") && got.contains("x-sum: 1") && got.contains("grpc-status: 0"), "{got}");
    assert!(["authorization", "cookie", "content-type"].iter().all(|name| !got.contains(name)), "{got}");
}

/// A fault that comes when a part was sent already ends the replica's connection: it never sees an end of the body.
#[test]
fn a_chunk_that_is_malformed_later_never_becomes_a_whole_body() {
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
    let mut client = rig.client();
    client.send(format!("{HEAD}5\r\nhello\r\n"));
    replica.await_requests(1);
    client.send("zz\r\n0\r\n\r\n");
    client.answer(false).unwrap().problem(400);
    assert!(client.has_ended());
    assert_eq!(seen.recv_timeout(crate::client::DEADLINE).unwrap(), "5\r\nhello\r\n");
}

#[test]
fn good_chunks_go_through_wherever_they_are_parted() {
    let replica = echoing();
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let body = "5;a=\"b c\";d\r\nhello\r\n0000A\r\n, what a d\r\n2\r\nay\r\n000\r\nX-Sum: 7\r\nContent-Length: 3\r\nTransfer-Encoding: x\r\n\
                Host: b\r\nConnection: close\r\nX-Forwarded-For: 6\r\nTrailer: y\r\nX-Last: z\r\n\r\n";
    // What may be sent twice is sent on the one connection from the beginning.
    let head = HEAD.replace("POST", "PUT");
    let mut client = rig.client();
    for first in [0, 1, 3, 13, 20, 40, 41, 42, body.len() - 1] {
        client.send(&head).send(&body[..first]);
        std::thread::yield_now();
        let answer = client.tap(&body[first..]);
        assert_eq!(answer.body, "hello, what a day X-Sum: 7\r\nX-Last: z\r\n");
    }
    for byte in format!("{head}{body}").bytes() {
        client.send([byte]);
    }
    assert!(client.answer(false).unwrap().body.starts_with("hello, what a day "));
    assert_eq!(replica.connections(), 1);
}

/// An answer's chunks are read as strictly; once it has begun it can only be cut.
#[test]
fn a_malformed_chunk_of_an_answer_cuts_it() {
    let replica = Upstream::start(|mut conn| {
        if let Some(head) = conn.head() {
            let chunks = if head.contains("/sign") { "5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n" } else { "5\r\nhello!\r\n0\r\n\r\n" };
            conn.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
            conn.head();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for path in ["/sign", "/end"] {
        let mut client = rig.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.answer(false).is_err(), "{path}");
    }
}
