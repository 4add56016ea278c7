//! Clients of HTTP/2 that ask too much, wait too long or send frames for nothing, and how a stop treats them.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::{Face, Limits, LocalDoor};
use h2::Reason;
use h2::client::Builder;
use http::HeaderValue;

use crate::client::{Client, DEADLINE};
use crate::http2_client::{Http2, eventually, request, run, send, whole};
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// A request for `/` of `a` in HPACK's static table and literals (RFC 7541): GET, http, the path, the authority.
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client on a raw socket that has begun as one of HTTP/2 does.
fn raw(rig: &Rig) -> Client {
    let mut client = rig.client();
    client.send(PREFACE).send(frame(SETTINGS, 0, 0, &[]));
    client
}

/// Reads frames until a GOAWAY, and returns its reason (RFC 9113 section 6.8); `None`: the connection ended without.
fn goaway(client: &mut Client) -> Option<Reason> {
    loop {
        let mut head = [0; 9];
        client.tcp.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        client.tcp.read_exact(&mut payload).ok()?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()).into());
        }
    }
}

/// Sends the same bytes until the gateway has enough, while another thread reads. Returns what it was told, if that arrived.
fn flood(mut client: Client, mut next: impl FnMut() -> Vec<u8>) -> Option<Reason> {
    let mut reading = Client { tcp: client.tcp.try_clone().unwrap() };
    let reader = std::thread::spawn(move || goaway(&mut reading));
    let began = Instant::now();
    while client.tcp.write_all(&next()).is_ok() {
        assert!(began.elapsed() < DEADLINE, "nobody ends the flood");
    }
    reader.join().unwrap()
}

fn rig() -> (Upstream, Rig) {
    rig_with(Limits::default())
}

fn rig_with(limits: Limits) -> (Upstream, Rig) {
    let upstream = Upstream::named("ok");
    let rig = Rig::with(1, limits, Face::Apps);
    rig.publish(vec![direct(1, &upstream)]);
    (upstream, rig)
}

/// Another client is served meanwhile, and afterwards.
fn is_well(rig: &Rig) {
    assert_eq!(rig.get("/").body, "ok");
    run(async { assert_eq!(Http2::connect(rig.addr).await.get("/").await.text(), "ok") });
}

#[test]
fn frames_that_carry_nothing_end_the_connection() {
    let (_upstream, rig) = rig();
    let request = frame(HEADERS, 4, 1, HEAD);
    for (name, first, flood_of) in [
        // CVE-2019-9512 and CVE-2019-9515.
        ("ping", vec![], frame(PING, 0, 0, &[1; 8])),
        ("settings", vec![], frame(SETTINGS, 0, 0, &[])),
        // CVE-2019-9518.
        ("empty data", request.clone(), frame(0, 0, 1, &[])),
        // CVE-2019-9513.
        ("priority", vec![], frame(2, 0, 1, &[0, 0, 0, 3, 7])),
        ("unknown", vec![], frame(77, 0, 0, &[])),
    ] {
        let mut client = raw(&rig);
        client.send(first);
        let many = flood_of.repeat(100);
        let reason = flood(client, || many.clone());
        assert!(reason.is_none_or(|reason| reason == Reason::ENHANCE_YOUR_CALM), "{name}: {reason:?}");
        is_well(&rig);
    }
}

#[test]
fn a_head_without_an_end_ends_the_connection() {
    // CVE-2024-27316: CONTINUATION without END_HEADERS.
    let (upstream, rig) = rig();
    let mut client = raw(&rig);
    client.send(frame(HEADERS, 0, 1, HEAD));
    let continuation = frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']);
    flood(client, || continuation.clone());
    is_well(&rig);
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn streams_that_are_opened_to_be_reset_end_the_connection() {
    // CVE-2023-44487, and CVE-2025-8671: a WINDOW_UPDATE of 0 has the gateway reset the stream.
    for provoke in [frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(8, 0, 1, &[0; 4])] {
        let (upstream, rig) = rig_with(Limits { h2_resets_max: 20, ..Limits::default() });
        let client = raw(&rig);
        let mut stream = 1u32;
        let mut sent = 0;
        flood(client, || {
            let mut reset = provoke.clone();
            reset[5..9].copy_from_slice(&stream.to_be_bytes());
            let bytes = [frame(HEADERS, 5, stream, HEAD), reset].concat();
            stream += 2;
            sent += 1;
            bytes
        });
        assert!(upstream.requests() <= 200, "{} of {sent} requests reached the worker", upstream.requests());
        is_well(&rig);
    }
}

#[test]
fn a_client_may_reset_some_of_its_streams() {
    let silent = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            if head.contains("/answer") {
                conn.answer("ok");
            }
        }
    });
    let rig = Rig::with(1, Limits { h2_resets_max: 5, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &silent)]);
    run(async {
        let mut client = Http2::connect(rig.addr).await;
        // What was answered pays for what was reset.
        for number in 0..20 {
            let (response, mut stream) = client.begin(request("GET", "/"), false).await;
            eventually("the request is at the worker", || silent.requests() > 2 * number).await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
            assert_eq!(client.get("/answer").await.text(), "ok");
        }
        for _ in 0..5 {
            let before = silent.requests();
            let (response, mut stream) = client.begin(request("GET", "/"), false).await;
            eventually("the request is at the worker", || silent.requests() > before).await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
        }
        assert_eq!(client.sent_away().await, Some(Reason::ENHANCE_YOUR_CALM));
    });
}

#[test]
fn no_more_streams_are_open_than_the_limit_says() {
    // RFC 9113 section 5.1.2.
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::with(1, Limits { h2_streams_max: 3, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &silent)]);
    let mut client = raw(&rig);
    for stream in [1, 3, 5, 7, 9] {
        client.send(frame(HEADERS, 5, stream, HEAD));
    }
    let mut refused = Vec::new();
    while refused.len() < 2 {
        let mut head = [0; 9];
        client.tcp.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        client.tcp.read_exact(&mut payload).unwrap();
        if head[3] == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 7], "REFUSED_STREAM");
            refused.push(head[8]);
        }
    }
    assert_eq!(refused, [7, 9]);
    silent.await_requests(3);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    // RFC 9113 section 10.5.1, RFC 6585 section 5.
    let (upstream, rig) = rig_with(Limits { head_bytes_max: 8 * 1024, ..Limits::default() });
    run(async {
        let client = Http2::connect(rig.addr).await;
        let mut asked = request("GET", "/");
        asked.headers_mut().insert("x-large", HeaderValue::from_bytes(&[b'x'; 10_000]).unwrap());
        match client.ask(asked).await {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(error) => assert!(error.is_remote(), "{error}"),
        }
        let mut asked = request("GET", "/");
        for number in 0..300 {
            asked.headers_mut().append("x", HeaderValue::from(number));
        }
        match client.ask(asked).await {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(error) => assert!(error.is_remote(), "{error}"),
        }
    });
    assert_eq!(upstream.requests(), 0);
    is_well(&rig);
}

/// A field that is not in HPACK's tables.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

#[test]
fn heads_that_are_malformed_or_mean_another_thing_in_http11_reach_no_worker() {
    let (upstream, rig) = rig();
    let pseudo = |method: &str, path: &str| {
        [literal(":method", method), literal(":scheme", "http"), literal(":path", path), literal(":authority", "a")].concat()
    };
    let with = |name: &str, value: &str| [pseudo("GET", "/"), literal(name, value)].concat();
    for head in [
        // RFC 9113 section 8.3.1: a whole URL would name another host.
        pseudo("GET", "http://other/"),
        pseudo("GET", "nowhere"),
        pseudo("GET", ""),
        pseudo("GET", "*"),
        pseudo("GE T", "/"),
        pseudo("GET", "/ HTTP/1.1\r\nx: y"),
        [pseudo("GET", "/"), literal(":path", "/b")].concat(),
        // RFC 8441 is not offered.
        [pseudo("CONNECT", "/"), literal(":protocol", "websocket")].concat(),
        // RFC 9113 sections 8.2.1 and 8.2.2.
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "websocket"),
        with("te", "gzip"),
        with("X-Upper", "1"),
        with("x y", "1"),
        with("x:", "1"),
        with("x", "1\r\nx-smuggled: 1"),
        with("x", "1\0"),
        // A length that is said twice, and one that is not kept (section 8.1.1).
        [with("content-length", "0"), literal("content-length", "0")].concat(),
        with("content-length", "5"),
        [literal(":method", "GET"), literal(":scheme", "http"), literal(":path", "/")].concat(),
        [with("host", "b"), literal(":authority", "c")].concat(),
    ] {
        let mut client = raw(&rig);
        client.send(frame(HEADERS, 5, 1, &head));
        let shown = String::from_utf8_lossy(&head).into_owned();
        loop {
            let mut head = [0; 9];
            if client.tcp.read_exact(&mut head).is_err() {
                break;
            }
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            client.tcp.read_exact(&mut payload).unwrap();
            match head[3] {
                RST_STREAM | GOAWAY => break,
                // By its index in the static table: 400; or in letters.
                HEADERS => {
                    assert!(
                        payload[0] == 0x8c || payload.windows(3).any(|bytes| bytes == b"400") || payload[0] == 0x48,
                        "{shown:?}: {payload:?}"
                    );
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(upstream.requests(), 0, "{shown:?}");
    }
    is_well(&rig);
}

#[test]
fn a_preface_may_come_in_pieces_but_has_to_come() {
    let (_upstream, rig) = rig_with(Limits { head_ms: 200, ..Limits::default() });
    let mut client = rig.client();
    for byte in PREFACE {
        client.send([*byte]);
    }
    client.send(frame(SETTINGS, 0, 0, &[])).send(frame(HEADERS, 5, 1, HEAD));
    let mut head = [0; 9];
    client.tcp.read_exact(&mut head).unwrap();
    assert_eq!(head[3], SETTINGS);
    // In the middle of what HTTP/1.1 takes for a head, and behind it.
    for length in [5, 20] {
        let mut client = rig.client();
        client.send(&PREFACE[..length]);
        while client.tcp.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }
    let mut client = rig.client();
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    while client.tcp.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    is_well(&rig);
}

#[test]
fn a_connection_without_streams_ends_after_a_while_and_one_with_streams_does_not() {
    let (finish, finishing) = std::sync::mpsc::channel::<()>();
    let finishing = std::sync::Mutex::new(finishing);
    let upstream = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            finishing.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.answer("late");
        }
    });
    let rig = Rig::with(1, Limits { client_idle_ms: 200, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        let mut client = Http2::connect(rig.addr).await;
        let (response, _) = client.begin(request("GET", "/"), true).await;
        // Longer than a connection may rest: that is what must not count here.
        tokio::time::sleep(Duration::from_millis(600)).await;
        finish.send(()).unwrap();
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "late");
        client.sent_away().await;
    });
}

#[test]
fn a_client_that_takes_nothing_holds_the_worker_back_and_is_cut_in_the_end() {
    let (written, progress) = (std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)), std::sync::atomic::Ordering::SeqCst);
    let counted = std::sync::Arc::clone(&written);
    let upstream = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while conn.write(format!("4000\r\n{}\r\n", "x".repeat(0x4000))) {
                counted.fetch_add(0x4000, progress);
            }
        }
    });
    let rig = Rig::with(1, Limits { body_idle_ms: 500, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, _) = client.begin(request("GET", "/"), true).await;
        let mut response = response.await.unwrap();
        // The client takes none of it: RFC 9113 section 5.2.
        let error = loop {
            match response.body_mut().data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("an endless answer ended"),
            }
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    });
    let held = written.load(progress);
    assert!(held < 16 * 1024 * 1024, "{held} bytes are somewhere");
}

#[test]
fn a_worker_that_takes_nothing_holds_the_client_back() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let stopped = std::sync::Mutex::new(stopped);
    let upstream = Upstream::start(move |mut conn| {
        conn.head();
        let _ = stopped.lock().unwrap().recv_timeout(DEADLINE);
        conn.end();
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (_response, mut stream) = client.begin(request("POST", "/"), false).await;
        let mut sent = 0;
        let block = Bytes::from(vec![b'x'; 64 * 1024]);
        while tokio::time::timeout(Duration::from_millis(500), send(&mut stream, block.clone(), false)).await.is_ok() {
            sent += block.len();
            assert!(sent < 32 * 1024 * 1024, "nothing holds the client back");
        }
        stop.send(()).unwrap();
    });
}

#[test]
fn a_stop_lets_streams_finish_and_takes_no_new_ones() {
    // RFC 9113 section 6.8.
    let (finish, finishing) = std::sync::mpsc::channel::<()>();
    let finishing = std::sync::Mutex::new(finishing);
    let upstream = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            finishing.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            conn.answer("done");
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        let mut idle = Http2::connect(rig.addr).await;
        let mut client = Http2::connect(rig.addr).await;
        let (response, _) = client.begin(request("POST", "/"), true).await;
        eventually("the request is at the worker", || upstream.requests() == 1).await;
        let stopping = tokio::spawn(rig.gateway.shutdown(DEADLINE));
        assert_eq!(idle.sent_away().await, None);
        assert!(idle.requests.ready().await.is_err());
        finish.send(()).unwrap();
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "done");
        assert_eq!(client.sent_away().await, None);
        stopping.await.unwrap();
    });
}

#[test]
fn a_stop_cuts_streams_that_do_not_finish_and_clients_that_say_nothing() {
    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &silent)]);
    // It never says that it has heard of the stop.
    let mut deaf = raw(&rig);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, _) = client.begin(request("GET", "/"), true).await;
        eventually("the request is at the worker", || silent.requests() == 1).await;
        let began = Instant::now();
        rig.gateway.shutdown(Duration::from_millis(300)).await;
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert!(response.await.is_err());
    });
    while deaf.tcp.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
}

#[test]
fn the_controllers_paths_are_served_over_http2_too() {
    let (local, mut connections) = LocalDoor::new(4);
    let upstream = Upstream::named("app");
    let rig = Rig::with(1, Limits::default(), Face::Combined { local });
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        tokio::spawn(async move {
            while let Some(mut connection) = connections.recv().await {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut head = vec![0; 4_096];
                let count = connection.stream.read(&mut head).await.unwrap();
                assert!(head[..count].starts_with(b"GET /status HTTP/1.1\r\nhost: a.test\r\n"));
                connection.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\napi").await.unwrap();
            }
        });
        let client = Http2::connect(rig.addr).await;
        assert_eq!(client.get("/status").await.text(), "api");
        assert_eq!(client.get("/").await.text(), "app");
    });
}

#[test]
fn a_client_with_small_windows_gets_everything() {
    let large: String = ('a'..='z').cycle().take(1_000_000).collect();
    let body = large.clone();
    let upstream = Upstream::start(move |mut conn| while conn.head().is_some() && conn.answer(&body) {});
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &upstream)]);
    run(async {
        let client = Http2::with(rig.addr, Builder::new().initial_window_size(1_000)).await;
        assert_eq!(client.get("/").await.text(), large);
    });
}
