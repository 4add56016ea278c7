//! Clients of HTTP/2, whose requests go to workers of HTTP/1.1.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderValue, Request, header};

use crate::http2_client::{Http2, eventually, request, run, send, whole};
use crate::http2_worker::fields;
use crate::rig::{Rig, direct};
use crate::upstream::{Conn, Upstream};

fn rig(upstream: &Upstream) -> Rig {
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, upstream)]);
    rig
}

/// Reads a chunked body with its trailers, as it was sent.
fn chunked(conn: &mut Conn) -> Option<String> {
    let mut text = String::new();
    while !(text.contains("0\r\n") && text.ends_with("\r\n\r\n")) {
        text.push(char::from(conn.body(1)?[0]));
    }
    Some(text)
}

#[test]
fn prior_knowledge_is_enough_and_the_worker_sees_a_request_of_http11() {
    // RFC 9113 section 3.3.
    let upstream = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            conn.write(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\nhello",
            );
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let answer = client.get("/path?query").await;
        assert_eq!((answer.status, answer.text(), answer.field("x-end")), (200, "hello", Some("2")));
        // RFC 9113 section 8.2.2: nothing of a connection.
        for name in ["connection", "keep-alive", "transfer-encoding", "x-hop", "upgrade"] {
            assert_eq!(answer.field(name), None, "{name}");
        }
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "hello");
        }
    });
    let head = upstream.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /path?query http/1.1\r\nhost: a.test\r\n"), "{head}");
    for line in ["x-forwarded-for: 127.0.0.1", "x-forwarded-host: a.test", "x-forwarded-proto: http", "x-request-id: "] {
        assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
    }
    assert!(!head.contains("connection:") && !head.contains("transfer-encoding:") && !head.contains("content-length:"), "{head}");
    assert_eq!(upstream.connections(), 1, "the connection to the worker is kept");
}

#[test]
fn crumbs_of_a_cookie_are_joined_and_the_authority_counts_over_host() {
    // RFC 9113 sections 8.2.3 and 8.3.1.
    let upstream = Upstream::named("ok");
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let mut asked = request("GET", "/");
        asked.headers_mut().extend(fields(&[
            ("cookie", "a=1"),
            ("host", "other.test"),
            ("te", "trailers"),
            ("x-forwarded-for", "6.6.6.6"),
        ]));
        asked.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
        asked.headers_mut().append("cookie", HeaderValue::from_static("c=3"));
        assert_eq!(client.ask(asked).await.unwrap().status, 200);
    });
    let head = upstream.heads()[0].clone();
    assert!(head.contains("\r\ncookie: a=1; b=2; c=3\r\n") && head.matches("cookie").count() == 1, "{head}");
    assert!(head.contains("\r\nhost: a.test\r\n") && !head.contains("other.test") && !head.contains("6.6.6.6"), "{head}");
    // RFC 9113 section 8.2.2: the one thing that may be said in TE.
    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
}

#[test]
fn connect_and_targets_that_are_no_path_are_refused() {
    // RFC 9113 sections 8.3.1 and 8.5.
    let upstream = Upstream::named("ok");
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let connect = Request::builder().method("CONNECT").uri("a.test:443").body(()).unwrap();
        let (response, _stream) = client.begin(connect, false).await;
        assert_eq!(response.await.unwrap().status(), 405);
        // An expectation that is not met, and a host that is malformed: as in HTTP/1.1.
        let mut expecting = request("GET", "/");
        expecting.headers_mut().extend(fields(&[("expect", "magic")]));
        assert_eq!(client.ask(expecting).await.unwrap().status, 417);
        let with_user = Request::builder().uri("http://user@a.test/").body(()).unwrap();
        assert_eq!(client.ask(with_user).await.unwrap().status, 400);
        assert_eq!(client.get("/").await.text(), "ok");
    });
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_body_of_unknown_length_goes_on_in_chunks_with_its_trailers() {
    let (bodies, seen) = std::sync::mpsc::channel();
    let upstream = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            bodies.send(chunked(&mut conn).unwrap()).unwrap();
            conn.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n",
            );
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(request("POST", "/"), false).await;
        send(&mut stream, Bytes::from_static(b"hello"), false).await.unwrap();
        // RFC 9110 section 6.5.1: what frames a message is no trailer.
        stream.send_trailers(fields(&[("x-check", "7"), ("content-length", "9")])).unwrap();
        let answer = whole(response.await.unwrap()).await.unwrap();
        assert_eq!((answer.text(), answer.trailers.get("x-sum").unwrap().to_str().unwrap()), ("abcde", "5"));
        assert_eq!(answer.field("trailer"), Some("x-sum"));
    });
    let head = upstream.heads()[0].clone();
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(seen.recv().unwrap(), "5\r\nhello\r\n0\r\nx-check: 7\r\n\r\n");
}

#[test]
fn a_body_of_known_length_keeps_it_and_must_keep_to_it() {
    // RFC 9113 section 8.1.1.
    let upstream = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.contains("content-length: 5") && conn.body(5) == Some(b"hello".to_vec()) {
                conn.answer("whole");
            }
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let sized = |length: &'static str| {
            let mut asked = request("POST", "/");
            asked.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
            asked
        };
        assert_eq!(client.tell(sized("5"), b"hello").await.unwrap().text(), "whole");
        for (length, body) in [("5", b"hell".as_slice()), ("5", b"hello!"), ("x", b"hello")] {
            match client.tell(sized(length), body).await {
                Ok(answer) => assert_eq!(answer.status, 400, "{length} {body:?}"),
                Err(error) => assert!(error.is_reset() && error.is_remote(), "{length} {body:?}: {error}"),
            }
        }
        assert_eq!(client.tell(sized("5"), b"hello").await.unwrap().text(), "whole");
    });
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let answer = match head.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            };
            conn.write(answer);
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        for (method, path, status) in [("GET", "/204", 204), ("GET", "/304", 304), ("GET", "/empty", 200), ("HEAD", "/", 200)] {
            let (response, _) = client.begin(request(method, path), true).await;
            let response = response.await.unwrap();
            assert_eq!(response.status(), status);
            assert!(response.body().is_end_stream(), "{path}");
        }
    });
}

#[test]
fn interim_answers_are_passed_on() {
    // RFC 9113 section 8.1, RFC 8297.
    let upstream = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            conn.answer("final");
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (mut response, _) = client.begin(request("GET", "/"), true).await;
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), interim.headers()["link"].to_str().unwrap()), (103, "</a.css>"));
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "final");
    });
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    // RFC 9110 section 10.1.1.
    let upstream = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            chunked(&mut conn);
            conn.answer("taken");
        }
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let mut asked = request("POST", "/");
        asked.headers_mut().extend(fields(&[("expect", "100-continue")]));
        let (mut response, mut stream) = client.begin(asked, false).await;
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(interim.status(), 100);
        send(&mut stream, Bytes::from_static(b"body"), true).await.unwrap();
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "taken");
    });
    assert!(upstream.heads()[0].contains("expect: 100-continue"));
}

#[test]
fn an_answer_that_is_cut_is_a_reset_and_never_an_end() {
    // RFC 9113 section 8.1: only what is whole ends with END_STREAM.
    let upstream = Upstream::start(|mut conn| {
        let head = conn.head().unwrap_or_default();
        if head.contains("/length") {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        } else {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        }
        conn.end();
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        for path in ["/length", "/chunked"] {
            let error = client.ask(request("POST", path)).await.unwrap_err();
            assert!(error.is_reset() && error.is_remote(), "{error}");
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
        }
    });
}

#[test]
fn a_request_that_is_reset_ends_at_the_worker() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut conn| {
        if conn.head().is_some_and(|head| head.contains("/answering")) {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        }
        // Until the gateway ends the connection.
        while conn.body(1).is_some() {}
        let _ = ended.send(());
    });
    let rig = rig(&upstream);
    run(async {
        let client = Http2::connect(rig.addr).await;
        // While its body is coming, while the answer is awaited, while the answer is coming.
        for (path, has_body) in [("/body", true), ("/waiting", false), ("/answering", false)] {
            let before = upstream.requests();
            let (response, mut stream) = client.begin(request("POST", path), !has_body).await;
            if has_body {
                send(&mut stream, Bytes::from_static(b"part"), false).await.unwrap();
            }
            eventually("the request is at the worker", || upstream.requests() > before).await;
            let response = if path == "/answering" { Some(response.await.unwrap()) } else { None };
            stream.send_reset(Reason::CANCEL);
            drop(response);
            ends.recv().await.unwrap();
        }
    });
}

#[test]
fn many_streams_share_a_connection() {
    let upstream = Upstream::named("ok");
    let rig = rig(&upstream);
    run(async {
        let client = std::sync::Arc::new(Http2::connect(rig.addr).await);
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..300 {
            let client = std::sync::Arc::clone(&client);
            asking.spawn(async move { client.get(&format!("/{number}")).await.text() == "ok" });
        }
        assert!(asking.join_all().await.into_iter().all(|is_ok| is_ok));
    });
    assert_eq!(upstream.requests(), 300);
}
