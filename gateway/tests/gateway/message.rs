//! Messages without a body, or with one that says its length in another way.

use crate::client::Client;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

#[test]
fn answers_without_a_body_stay_without_one_and_keep_the_connections() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let path = head.split(' ').nth(1).unwrap();
            conn.write(match path {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
                "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            });
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..3 {
        assert_eq!(client.get("/204").status, 204);
        let answer = client.get("/304");
        assert_eq!((answer.status, answer.field("etag")), (304, Some("\"x\"")));
        let answer = client.request("HEAD /length", "", "");
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("1234")));
        assert_eq!(client.request("HEAD /chunked", "", "").status, 200);
        assert_eq!(client.get("/empty").body, "");
        assert_eq!(client.get("/empty-chunked").body, "");
    }
    assert_eq!(replica.connections(), 1);
}

#[test]
fn an_interim_answer_is_not_taken_for_the_answer() {
    let replica = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            conn.answer("final");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    // RFC 9110 section 15.2: a proxy forwards interim answers; a 100 that nobody waits for it may drop (section 15.2.1).
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.head().unwrap();
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a>")));
    assert_eq!(client.answer(false).unwrap().body, "final");
    // HTTP/1.0 knows none.
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer(false).unwrap().body, "final");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_passed_on_chunked() {
    let replica = Upstream::start(|mut conn| {
        conn.head();
        conn.write("HTTP/1.0 200 OK\r\n\r\nuntil the end");
        conn.end();
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let answer = rig.get("/");
    assert_eq!((answer.field("transfer-encoding"), answer.body.as_str()), (Some("chunked"), "until the end"));
}

#[test]
fn an_answer_that_says_two_lengths_is_a_502() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            conn.write(if head.contains("/both") {
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"
            });
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    // RFC 9112 section 6.3: such an answer may be two in the eyes of somebody else.
    for path in ["/both", "/twice"] {
        rig.get(path).problem(502);
    }
}

#[test]
fn trailers_go_through_both_ways() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            let mut client = Client { tcp: conn.tcp.try_clone().unwrap() };
            assert_eq!(client.chunk().unwrap(), b"up");
            assert!(client.chunk().unwrap().is_empty());
            let sent = String::from_utf8(client.line_end().unwrap()).unwrap();
            assert_eq!(client.line_end().unwrap(), b"\r\n", "X-Forwarded-For does not come through");
            conn.write(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n4\r\ndown\r\n0\r\nx-sum: {}\r\n\r\n",
                sent.trim().to_lowercase().replace(": ", "=")
            ));
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let answer = rig.client().request(
        "POST /",
        "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-up, x-forwarded-for\r\n",
        "2\r\nup\r\n0\r\nx-up: 7\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
    );
    assert_eq!((answer.body.as_str(), answer.field("x-sum")), ("down", Some("x-up=7")));
    let head = replica.heads()[0].to_lowercase();
    assert!(head.contains("\r\nte: trailers\r\n") && head.contains("\r\nconnection: te\r\n"), "{head}");
}

#[test]
fn a_get_may_have_a_chunked_body() {
    let replica = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            let mut client = Client { tcp: conn.tcp.try_clone().unwrap() };
            let body = client.chunk().unwrap();
            assert!(client.chunk().unwrap().is_empty());
            client.line_end().unwrap();
            conn.answer(&String::from_utf8(body).unwrap());
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..2 {
        assert_eq!(client.request("GET /", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n").body, "abc");
    }
    assert_eq!(replica.connections(), 1);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            let body = conn.body(5).unwrap();
            conn.answer(&String::from_utf8(body).unwrap());
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.answer(false).unwrap().body, "hello");
}
