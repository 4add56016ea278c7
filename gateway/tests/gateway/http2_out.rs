//! Workers that speak HTTP/2: requests of both versions go to them, and none is lost that they did not take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use cluster::route::Target;
use gateway::{Face, Limits};
use h2::Reason;
use h2::server::Builder;
use http::Response;

use crate::client::{Client, DEADLINE, until};
use crate::http2_client::{Http2, request, run, send, whole};
use crate::http2_worker::{Worker, answer, fields, publish, table};
use crate::rig::{Rig, direct, refusing, route};
use crate::upstream::Upstream;

fn rig(worker: &Worker) -> Rig {
    let rig = Rig::new(1);
    publish(&rig, vec![worker.route(1)]);
    rig
}

#[test]
fn a_client_of_http11_is_answered_by_a_worker_of_http2() {
    let worker = Worker::answering(|request, mut respond| async move {
        let body = whole(Response::new(request.into_body())).await.unwrap();
        let mut response = Response::new(());
        response.headers_mut().extend(fields(&[("x-end", "1")]));
        let mut stream = respond.send_response(response, false).unwrap();
        send(&mut stream, Bytes::from(format!("got {}", body.text())), true).await.unwrap();
    });
    let rig = rig(&worker);
    let mut client = rig.client();
    let answered = client.request("POST /path?q", "Content-Length: 4\r\nCookie: a=1\r\nTE: trailers\r\nConnection: TE\r\n", "body");
    assert_eq!((answered.status, answered.body.as_str(), answered.field("x-end")), (200, "got body", Some("1")));
    assert_eq!(answered.field("transfer-encoding"), Some("chunked"));
    let seen = worker.requests.last();
    // RFC 9113 section 8.3.1.
    assert_eq!(seen.uri, "http://a.test/path?q");
    assert_eq!(seen.headers["cookie"], "a=1");
    assert_eq!(seen.headers["content-length"], "4");
    assert_eq!(seen.headers["te"], "trailers");
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert!(!seen.headers.contains_key("host") && !seen.headers.contains_key("connection"));
    // A body in chunks, and more requests on the same connection of either side.
    let answered = client.request("POST /", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(answered.body, "got abcde");
    for _ in 0..5 {
        assert_eq!(rig.get("/").body, "got ");
    }
    assert_eq!(worker.connections(), 1);
}

#[test]
fn both_sides_may_speak_http2() {
    let worker = Worker::named("far");
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "far");
        }
        assert_eq!(client.tell(request("POST", "/"), &[b'x'; 300_000]).await.unwrap().text(), "far");
    });
}

#[test]
fn one_app_is_served_by_workers_of_either_version_to_clients_of_either_version() {
    let old = Upstream::named("same");
    let new = Worker::named("same");
    let rig = Rig::new(1);
    for speaks_http2 in [false, true, false, true] {
        if speaks_http2 {
            publish(&rig, vec![new.route(1)]);
        } else {
            rig.publish(vec![direct(1, &old)]);
        }
        assert_eq!(rig.get("/").body, "same");
        run(async { assert_eq!(Http2::connect(rig.addr).await.get("/").await.text(), "same") });
    }
    assert_eq!((old.requests(), new.requests.count()), (4, 4));
}

#[test]
fn answers_without_a_body_have_none() {
    let worker = Worker::answering(|request, mut respond| async move {
        let mut response = Response::new(());
        let path = request.uri().path().to_owned();
        *response.status_mut() = path[1..].parse().unwrap();
        if request.method() == http::Method::HEAD || path == "/304" {
            response.headers_mut().extend(fields(&[("content-length", "9")]));
        }
        respond.send_response(response, true).unwrap();
    });
    let rig = rig(&worker);
    let mut client = rig.client();
    for (line, status, length) in
        [("GET /200", 200, Some("0")), ("GET /204", 204, None), ("GET /304", 304, Some("9")), ("HEAD /200", 200, Some("9"))]
    {
        let answered = client.request(line, "", "");
        assert_eq!((answered.status, answered.field("content-length")), (status, length), "{line}");
    }
}

#[test]
fn interim_answers_of_a_worker_are_passed_on() {
    let worker = Worker::answering(|_, mut respond| async move {
        let mut hints = Response::new(());
        *hints.status_mut() = http::StatusCode::EARLY_HINTS;
        hints.headers_mut().extend(fields(&[("link", "</a.css>")]));
        respond.send_informational(hints).unwrap();
        answer(respond, "final").await;
    });
    let rig = rig(&worker);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let interim = client.head().unwrap();
    assert_eq!((interim.status, interim.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.answer(false).unwrap().body, "final");
}

#[test]
fn an_answer_that_a_worker_resets_is_cut() {
    // RFC 9113 section 8.1.
    let worker = Worker::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        // Its first bytes must have gone out.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let rig = rig(&worker);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.answer(false).is_err());
    run(async {
        let error = Http2::connect(rig.addr).await.ask(request("GET", "/")).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn a_worker_that_says_goodbye_loses_no_request_whatever_its_method() {
    // RFC 9113 section 6.8: each connection takes three requests, and leaves out what comes later.
    let worker = Worker::start(Builder::new(), |_, mut connection, requests| {
        Box::pin(async move {
            let mut taken = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                requests.add(&request);
                tokio::spawn(answer(respond, "ok"));
                taken += 1;
                if taken == 3 {
                    connection.graceful_shutdown();
                }
            }
        })
    });
    let rig = rig(&worker);
    run(async {
        let client = Arc::new(Http2::connect(rig.addr).await);
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let client = Arc::clone(&client);
            asking.spawn(async move { client.tell(request("POST", "/"), b"body").await.unwrap() });
        }
        for answered in asking.join_all().await {
            assert_eq!((answered.status, answered.text()), (200, "ok"));
        }
    });
    for _ in 0..20 {
        assert_eq!(rig.client().post("/", "body").body, "ok");
    }
    assert!(worker.connections() >= 2);
}

/// Frames of a worker on a raw socket: it says SETTINGS, waits for so many requests, and then speaks.
fn scripted(requests: usize, says: &'static [u8]) -> Upstream {
    use std::io::Read;
    Upstream::start(move |mut conn| {
        conn.write([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let mut preface = [0; 24];
        if conn.tcp.read_exact(&mut preface).is_err() {
            return;
        }
        let mut seen = 0;
        while seen < requests {
            let mut head = [0; 9];
            if conn.tcp.read_exact(&mut head).is_err() {
                return;
            }
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            conn.tcp.read_exact(&mut payload).unwrap();
            seen += usize::from(head[3] == 1);
        }
        conn.write(says);
        conn.end();
    })
}

#[test]
fn what_a_worker_did_not_take_is_sent_elsewhere_and_what_it_may_have_taken_is_not() {
    // RFC 9113 section 8.7.
    const LEFT_OUT: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    const RESET: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    const TAKEN: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let good = Worker::named("good");
    for (says, is_safe) in
        [(LEFT_OUT, true), (REFUSED, true), (RESET, false), (TAKEN, false), (b"".as_slice(), false), (b"no frame of HTTP/2", false)]
    {
        let bad = scripted(1, says);
        let rig = Rig::new(1);
        publish(&rig, vec![route(1, Target::Loopback(bad.addr.port())), good.route(2)]);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let answered = rig.client().post("/", "body");
            outcomes.push((answered.status, answered.body == "good"));
        }
        let expected = if is_safe { vec![(200, true); 2] } else { vec![(200, true), (502, false)] };
        outcomes.sort_unstable();
        assert_eq!(outcomes, expected, "{says:?}");
        // An idempotent one is sent again in any case.
        for _ in 0..4 {
            assert_eq!(rig.get("/").body, "good", "{says:?}");
        }
    }
}

#[test]
fn a_large_body_is_not_lost_with_a_connection_that_leaves_it_out() {
    use std::io::Read;
    // It says its goodbye when it has read for a while, and never answers a PING.
    let bad = Upstream::start(|mut conn| {
        conn.write([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        conn.tcp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut buffer = [0; 4_096];
        while let Ok(1..) = conn.tcp.read(&mut buffer) {}
        conn.write([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        conn.end();
    });
    let good = Worker::answering(|request, respond| async move {
        let body = whole(Response::new(request.into_body())).await.unwrap();
        answer(respond, if body.body == vec![b'x'; 1_000_000] { "whole" } else { "not whole" }).await;
    });
    let rig = Rig::new(1);
    publish(&rig, vec![route(1, Target::Loopback(bad.addr.port())), good.route(2)]);
    for _ in 0..4 {
        assert_eq!(rig.client().post("/", &"x".repeat(1_000_000)).body, "whole");
    }
    assert!(bad.connections() > 0);
}

#[test]
fn a_worker_that_cannot_be_reached_is_passed_over() {
    let (_socket, port) = refusing();
    let good = Worker::named("good");
    let rig = Rig::new(1);
    publish(&rig, vec![route(1, Target::Loopback(port)), good.route(2)]);
    for _ in 0..4 {
        assert_eq!(rig.client().post("/", "body").body, "good");
    }
    assert_eq!(good.connections(), 1);
}

#[test]
fn a_worker_that_does_not_speak_http2_is_passed_over() {
    let worker = Upstream::start(|mut conn| {
        conn.head();
        conn.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        conn.end();
    });
    let rig = Rig::with(1, Limits { hold_ms: 300, ..Limits::default() }, Face::Apps);
    let good = Worker::named("good");
    publish(&rig, vec![route(1, Target::Loopback(worker.addr.port())), good.route(2)]);
    for _ in 0..4 {
        assert_eq!(rig.client().post("/", "body").body, "good");
    }
    publish(&rig, vec![route(1, Target::Loopback(worker.addr.port()))]);
    rig.client().post("/", "body").problem(503);
    assert!(worker.heads().iter().all(|head| head == "PRI * HTTP/2.0\r\n\r\n"), "no request was sent");
}

#[test]
fn more_connections_are_opened_when_the_worker_limits_its_streams() {
    // RFC 9113 section 5.1.2.
    let (finish, finishing) = tokio::sync::watch::channel(false);
    let worker = Worker::start(Builder::new().max_concurrent_streams(2).clone(), move |_, mut connection, requests| {
        let finishing = finishing.clone();
        Box::pin(async move {
            while let Some(Ok((request, respond))) = connection.accept().await {
                requests.add(&request);
                let mut finishing = finishing.clone();
                tokio::spawn(async move {
                    let _ = finishing.wait_for(|is_over| *is_over).await;
                    answer(respond, "ok").await;
                });
            }
        })
    });
    let rig = rig(&worker);
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=6 {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        clients.push(client);
        until("the request is at the worker", || worker.requests.count() == number);
    }
    assert_eq!(worker.connections(), 3);
    finish.send(true).unwrap();
    for client in &mut clients {
        assert_eq!(client.answer(false).unwrap().body, "ok");
    }
}

#[test]
fn clients_that_do_not_read_hold_up_nobody_else_on_the_connection() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let worker = Worker::answering(move |request, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() != "/endless" {
                return answer(respond, "quick").await;
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            while send(&mut stream, Bytes::from(vec![b'x'; 16 * 1024]), false).await.is_ok() {
                counted.fetch_add(16 * 1024, Ordering::SeqCst);
            }
        }
    });
    let rig = rig(&worker);
    let idle: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = Client::narrow(rig.addr);
            client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    until("all are answered", || worker.requests.count() == 50);
    let mut before = 0;
    until("nothing moves any more", || {
        // So long without a byte is a stand-still; there is nothing else to see it by.
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, sent.load(Ordering::SeqCst)) == before
    });
    assert_eq!(rig.get("/").body, "quick");
    assert_eq!(worker.connections(), 1);
    drop(idle);
}

#[test]
fn idle_connections_and_those_of_replicas_that_left_end() {
    let (ended, endings) = mpsc::channel();
    let ended = Mutex::new(ended);
    let worker = Worker::start(Builder::new(), move |_, mut connection, _| {
        let ended = ended.lock().unwrap().clone();
        Box::pin(async move {
            let mut is_orderly = true;
            loop {
                match connection.accept().await {
                    Some(Ok((request, respond))) if request.uri().path() == "/slow" => {
                        tokio::spawn(async move {
                            // Long enough for the table to change meanwhile.
                            tokio::time::sleep(Duration::from_millis(300)).await;
                            answer(respond, "slow").await;
                        });
                    }
                    Some(Ok((_, respond))) => drop(tokio::spawn(answer(respond, "ok"))),
                    Some(Err(_)) => is_orderly = false,
                    None => break,
                }
            }
            ended.send(is_orderly).unwrap();
        })
    });
    let rig = Rig::new(1);
    let mut short = table(&rig, vec![worker.route(1)]);
    short.apps.values_mut().for_each(|app| app.keepalive_idle_ms = 100);
    rig.publish_table(short);
    assert_eq!(rig.get("/").body, "ok");
    assert!(endings.recv_timeout(DEADLINE).unwrap(), "an idle connection ends in order");
    // With a request under way, it ends after that.
    publish(&rig, vec![worker.route(1)]);
    let mut client = rig.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    until("a second connection", || worker.connections() == 2);
    let version = rig.publish(vec![]);
    assert_eq!(client.answer(false).unwrap().body, "slow");
    assert!(endings.recv_timeout(DEADLINE).unwrap());
    rig.await_ack("nothing is in flight", |ack| ack.version >= version && ack.in_flight.is_empty());
}

#[test]
fn a_stop_ends_the_connections_to_workers() {
    let worker = Worker::named("ok");
    let rig = rig(&worker);
    assert_eq!(rig.get("/").body, "ok");
    let began = std::time::Instant::now();
    run(rig.gateway.shutdown(DEADLINE));
    assert!(began.elapsed() < DEADLINE / 2);
}

#[test]
fn a_request_that_nobody_waits_for_is_reset_at_the_worker() {
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resets);
    let worker = Worker::answering(move |_, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let rig = Rig::with(1, Limits { first_byte_ms: 300, ..Limits::default() }, Face::Apps);
    publish(&rig, vec![worker.route(1)]);
    assert_eq!(rig.client().post("/", "body").status, 504);
    until("a reset after a 504", || resets.load(Ordering::SeqCst) == 1);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(request("GET", "/"), true).await;
        crate::http2_client::eventually("the request is at the worker", || worker.requests.count() == 2).await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
        crate::http2_client::eventually("a reset", || resets.load(Ordering::SeqCst) == 2).await;
    });
    assert_eq!(worker.connections(), 1);
}

#[test]
fn the_tunnel_carries_http2() {
    use std::io::{Read, Write};
    let worker = Worker::named("far away");
    let port = worker.addr.port();
    let agent = Upstream::start(move |mut conn| {
        conn.head();
        conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ostler-tunnel\r\n\r\n");
        let mut to = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut from, mut back) = (to.try_clone().unwrap(), conn.tcp.try_clone().unwrap());
        let copying = std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = conn.tcp.read(&mut buffer) {
            to.write_all(&buffer[..count]).unwrap();
        }
        to.shutdown(std::net::Shutdown::Both).unwrap();
        let _ = copying.join();
    });
    let rig = Rig::new(1);
    publish(&rig, vec![route(1, Target::Tunnel(agent.addr.to_string()))]);
    for _ in 0..5 {
        assert_eq!(rig.get("/").body, "far away");
    }
    assert_eq!(agent.connections(), 1);
}
