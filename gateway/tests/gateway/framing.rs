//! One reading of where a request ends, or none (RFC 9112 section 6).

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// Each must be refused, and no byte of it may reach a replica.
fn all_refused(fields_and_bodies: &[&str]) {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for sent in fields_and_bodies {
        rig.refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{sent}"), 400);
    }
    assert_eq!(replica.requests(), 0);
    assert_eq!(rig.get("/").status, 200);
}

/// RFC 9112 section 6.3, rule 3; CVE-2021-40346 (HAProxy), CVE-2026-2835 (Pingora).
#[test]
fn a_length_beside_a_coding_is_refused() {
    all_refused(&[
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    ]);
}

/// RFC 9112 section 6.3, rule 5; CVE-2023-40225 (HAProxy: an empty one).
#[test]
fn a_length_that_is_not_one_number_is_refused() {
    all_refused(&[
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: 5,\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: -5\r\n\r\nhello",
        "Content-Length: 5 5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: 5_0\r\n\r\nhello",
        "Content-Length: 5.0\r\n\r\nhello",
        "Content-Length: \r\n\r\nhello",
        "Content-Length:\r\n\r\n",
        "Content-Length: 18446744073709551616\r\n\r\nhello",
        "Content-Length: 99999999999999999999999999\r\n\r\nhello",
    ]);
}

/// RFC 9112 section 6.1; CVE-2026-71324 (Traefik).
#[test]
fn a_coding_that_is_not_exactly_chunked_is_refused() {
    all_refused(&[
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ]);
}

/// RFC 9112 section 6.1: "the server must treat it as faulty".
#[test]
fn a_coding_in_http_1_0_is_refused() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    rig.refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    assert_eq!(replica.requests(), 0);
}

/// RFC 9112 section 7: names of codings know no case. Space around a value is no part of it (RFC 9110 section 5.5).
#[test]
fn chunked_is_chunked_in_any_case() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            assert_eq!(head.to_lowercase().matches("transfer-encoding: chunked\r\n").count(), 1, "{head}");
            conn.body("5\r\nhello\r\n0\r\n\r\n".len());
            conn.answer("ok");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for coding in ["Chunked", "CHUNKED", "  chunked \t"] {
        let answer = rig.client().request("POST /", &format!("Transfer-Encoding: {coding}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(answer.body, "ok");
    }
}

/// What `Connection` names is stripped, but never what says where the message ends or whose it is (CVE-2024-45410, RFC 9110 section 7.6.1).
#[test]
fn connection_cannot_take_the_framing_away() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let head = head.to_lowercase();
            assert!(head.contains("\r\ncontent-length: 5\r\n") && head.contains("\r\nhost: a.test\r\n"), "{head}");
            assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{head}");
            conn.body(5);
            conn.answer("ok");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let fields = "Content-Length: 5\r\nConnection: content-length, host, x-forwarded-for, transfer-encoding\r\n";
    assert_eq!(rig.client().request("POST /", fields, "hello").body, "ok");
    let many = "x,".repeat(1_000);
    rig.refused(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {many}\r\n\r\n"), 400);
}
