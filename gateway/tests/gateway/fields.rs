//! What goes through of the fields, and what is added.

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

#[test]
fn a_replica_sees_the_request_without_what_concerned_the_clients_connection() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    rig.client().request(
        "GET /a%2Fb?c=d%20e",
        "Connection: keep-alive, X-Hop, x-forwarded-for\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nTE: gzip\r\nProxy-Connection: close\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Kept: yes\r\nCookie: a=b\r\nVia: 1.0 fred\r\n",
        "",
    );
    let mut lines: Vec<String> = replica.heads()[0].to_lowercase().lines().map(str::to_owned).collect();
    lines.sort();
    let id = lines.remove(lines.iter().position(|line| line.starts_with("x-request-id")).unwrap());
    assert!(id.starts_with("x-request-id: ") && id.len() == "x-request-id: ".len() + 32, "{id}");
    assert_eq!(
        lines,
        [
            "",
            "cookie: a=b",
            "forwarded: for=127.0.0.1;host=\"a.test\";proto=http",
            "get /a%2fb?c=d%20e http/1.1",
            "host: a.test",
            "via: 1.0 fred",
            "via: 1.1 ostler",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.test",
            "x-forwarded-proto: http",
            "x-kept: yes"
        ]
    );
}

#[test]
fn a_client_sees_the_answer_without_what_concerned_the_replicas_connection() {
    let replica = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            conn.write(
                "HTTP/1.1 201 Made\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nDate: then\r\nX-Kept: a\r\nX-Kept: b\r\n\
                 Set-Cookie: c\r\nContent-Length: 2\r\n\r\nok",
            );
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let answer = rig.get("/");
    assert!(answer.head.starts_with("HTTP/1.1 201 Made\r\n"), "{}", answer.head);
    let mut lines: Vec<String> = answer.head.to_lowercase().lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["", "content-length: 2", "date: then", "set-cookie: c", "x-kept: a", "x-kept: b"]);
}

#[test]
fn a_target_in_absolute_form_becomes_a_path_and_its_host_counts() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let answer = rig.client().request("GET http://other.test:81/x?y", "", "");
    assert_eq!(answer.status, 200);
    let head = replica.heads()[0].to_lowercase();
    assert!(head.starts_with("get /x?y http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: other.test:81\r\n") && !head.contains("host: a.test"), "{head}");
}

#[test]
fn a_request_of_http_1_0_is_served() {
    let replica = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer(false).unwrap();
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
    assert_eq!((answer.field("transfer-encoding"), answer.body.as_str()), (None, "ok"));
    let head = replica.heads()[0].to_lowercase();
    assert!(head.starts_with("get / http/1.1\r\n") && head.contains(&format!("\r\nhost: {}\r\n", rig.addr)), "{head}");
}

#[test]
fn what_is_malformed_is_refused_and_ends_the_connection() {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for (sent, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("\x16\x03\x01\x02\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(300)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(66_000)), 414),
    ] {
        let mut client = rig.client();
        client.send(&sent);
        let answer = client.answer(false).unwrap();
        answer.problem(status);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.has_ended(), "{:?}", &sent[..sent.len().min(50)]);
    }
    assert_eq!(replica.requests(), 0);
    assert_eq!(rig.get("/").status, 200);
}
