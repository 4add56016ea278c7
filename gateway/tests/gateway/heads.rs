//! Heads: lines, names, values, targets, hosts, versions (RFC 9112 sections 2 to 5).

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn rig() -> (Upstream, Rig) {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    (replica, rig)
}

/// RFC 9112 sections 2.2, 5, 5.1 and 5.2; CVE-2023-25725 (HAProxy: an empty name).
#[test]
fn a_malformed_head_is_refused() {
    let (replica, rig) = rig();
    for sent in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        "GET / HTTP/11\r\nHost: a\r\n\r\n",
        "GET / HTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        rig.refused(sent, 400);
    }
    // Not in UTF-8, and TLS.
    rig.refused(b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    rig.refused(b"\x16\x03\x01\x00\xf4\x01\x00", 400);
    assert_eq!(replica.requests(), 0);
}

/// RFC 9112 section 2.3, RFC 9110 section 15.6.6.
#[test]
fn versions_that_are_not_served_are_505() {
    let (replica, rig) = rig();
    for version in ["2.0", "1.2", "3.0", "0.9"] {
        rig.refused(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"), 505);
    }
    // RFC 9113 section 3.4: a connection of HTTP/2 begins so, with nothing before.
    rig.refused("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    assert_eq!(replica.requests(), 0);
}

/// RFC 9112 section 3.2: one Host, and a valid one.
#[test]
fn a_request_has_one_host() {
    let (replica, rig) = rig();
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\n",
        "Host: a/b\r\n",
        "Host: user@a\r\n",
        "Host: a:b\r\n",
        "Host: a:99999\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: http://a\r\n",
        "Host: \u{e4}\r\n",
    ] {
        rig.refused(format!("GET / HTTP/1.1\r\n{fields}\r\n"), 400);
    }
    // A target in absolute form does not stand for the field.
    rig.refused("GET http://a/ HTTP/1.1\r\n\r\n", 400);
    rig.refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    assert_eq!(replica.requests(), 0);
    for host in ["a", "A.test:80", "127.0.0.1:8000", "[::1]:8000", "under_score"] {
        assert_eq!(rig.client().tap(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).body, "ok");
        assert!(replica.heads().last().unwrap().contains(&format!("\r\nhost: {host}\r\n")));
    }
}

/// RFC 9112 section 3.2 and RFC 9110 section 9.3.6.
#[test]
fn a_target_has_the_form_of_its_method() {
    let (replica, rig) = rig();
    for (line, status) in [
        ("GET *", 400),
        ("GET nowhere", 400),
        ("GET a.test:80", 400),
        ("GET /a#b", 400),
        ("GET ftp://a/", 400),
        ("GET http://", 400),
        ("GET http:///x", 400),
        ("GET http://u@a/", 400),
        ("GET http://a:x/", 400),
        ("GET ?x", 400),
        ("OPTIONS a.test:80", 400),
        ("CONNECT a.test:80", 405),
        ("CONNECT /", 405),
        ("CONNECT http://a/", 405),
    ] {
        rig.refused(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), status);
    }
    assert_eq!(replica.requests(), 0);
    for (sent, forwarded, host) in [
        ("OPTIONS *", "OPTIONS *", "a.test"),
        ("OPTIONS http://b", "OPTIONS *", "b"),
        ("OPTIONS http://b/", "OPTIONS /", "b"),
        ("GET http://b", "GET /", "b"),
        ("GET HTTP://b:81?x=http://c/", "GET /?x=http://c/", "b:81"),
        ("GET https://b/%2e%2E//a/../b", "GET /%2e%2E//a/../b ", "b"),
        ("GET //a//b/./c", "GET //a//b/./c", "a.test"),
        ("GET /?a|b^{c}", "GET /?a|b^{c}", "a.test"),
        ("GET /\u{43f}", "GET /\u{43f}", "a.test"),
        ("BREW /pot", "BREW /pot", "a.test"),
    ] {
        assert_eq!(rig.client().request(sent, "", "").status, 200, "{sent}");
        let head = replica.heads().last().unwrap().clone();
        assert!(head.starts_with(forwarded), "{sent}: {head}");
        assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{sent}: {head}");
        assert!(head.contains(&format!("\r\nx-forwarded-host: {host}\r\n")), "{sent}: {head}");
    }
}

/// RFC 9112 section 2.2: some clients send an empty line behind a body.
#[test]
fn an_empty_line_before_a_request_is_passed_over() {
    let (_replica, rig) = rig();
    let mut client = rig.client();
    for _ in 0..3 {
        assert_eq!(client.tap("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").body, "ok");
    }
    // Many are no mistake of a client's.
    rig.refused(format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(20)), 400);
}

/// A head may come byte by byte.
#[test]
fn a_head_may_come_in_pieces() {
    let (_replica, rig) = rig();
    let mut client = rig.client();
    for _ in 0..2 {
        for byte in b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" {
            client.send([*byte]);
            std::thread::yield_now();
        }
        assert_eq!(client.answer(false).unwrap().body, "ok");
    }
}

/// Limits: 64 KiB, 256 fields, a target of 16 KiB (RFC 6585 section 5, RFC 9110 section 15.5.15).
#[test]
fn a_head_has_its_limits() {
    let (replica, rig) = rig();
    let fields = |count: usize| "X: 1\r\n".repeat(count);
    rig.refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(256)), 431);
    rig.refused(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(66_000)), 431);
    for length in [16 * 1024, 30_000, 66_000] {
        rig.refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length)), 414);
    }
    // Nor is the end of a line waited for that is too long already.
    rig.refused(format!("GET /{}", "x".repeat(17_000)), 414);
    rig.refused("x".repeat(17_000), 414);
    assert_eq!(replica.requests(), 0);
    let mut client = rig.client();
    assert_eq!(client.tap(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(255))).body, "ok");
    assert_eq!(client.tap(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(65_000))).body, "ok");
    assert_eq!(client.get(&format!("/{}", "x".repeat(16 * 1024 - 1))).body, "ok");
}

/// Whatever an untrusted client gave; a trusted one is believed ([`crate::origin`]).
#[test]
fn a_request_has_an_id_of_ours() {
    let (replica, rig) = rig();
    rig.client().request("GET /", "X-Request-ID: mine\r\n", "");
    rig.client().request("GET /", "X-Request-ID: mine\r\nConnection: x-request-id\r\n", "");
    rig.get("/");
    let ids: Vec<Vec<String>> = replica
        .heads()
        .iter()
        .map(|head| {
            let lines = head.lines().filter(|line| line.to_lowercase().starts_with("x-request-id: "));
            lines.map(|line| line["x-request-id: ".len()..].to_owned()).collect()
        })
        .collect();
    assert!(ids.iter().all(|ids| ids.len() == 1), "{ids:?}");
    assert!(ids[0] != ["mine"] && ids[1] != ids[0] && ids[2] != ids[1] && ids[2] != ids[0], "{ids:?}");
}
