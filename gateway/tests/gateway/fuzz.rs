//! Random and mutated bytes: what the gateway forwards is exactly one request with the body that was meant, or it was refused.
//!
//! The judge is httparse and a reader of chunks that was written for this test: none of the gateway's own code.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::sync::{Arc, Mutex};

use gateway::{Face, Limits};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::client::until;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// A request as the judge reads it, and how many bytes it took.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judged {
    path: String,
    body: Vec<u8>,
    length: usize,
}

/// Reads one request at the front of `bytes`; `None`: it is not whole or not well formed.
fn judge(bytes: &[u8]) -> Option<Judged> {
    let mut fields = [httparse::EMPTY_HEADER; 512];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let all = |name: &str| -> Vec<&[u8]> {
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let (body, length) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), head),
        ([length], []) => {
            let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
            (bytes.get(head..head.checked_add(length)?)?.to_vec(), head + length)
        }
        ([], [b"chunked"]) => {
            let mut at = head;
            let mut body = Vec::new();
            loop {
                let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n")? + at;
                let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..line]).ok()?, 16).ok()?;
                at = line + 2;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(bytes.get(at..at + size)?);
                at += size;
                if bytes.get(at..at + 2)? != b"\r\n" {
                    return None;
                }
                at += 2;
            }
            loop {
                let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n")? + at;
                let is_last = line == at;
                at = line + 2;
                if is_last {
                    return Some(Judged { path: request.path?.to_owned(), body, length: at });
                }
            }
        }
        _ => return None,
    };
    Some(Judged { path: request.path?.to_owned(), body, length })
}

/// What a replica saw on each connection.
type Seen = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// Keeps the bytes of each connection, and answers each request that the judge finds in them.
fn recording(listener: &TcpListener, seen: &Seen) -> Upstream {
    let seen = Arc::clone(seen);
    Upstream::on(listener.try_clone().unwrap(), move |mut conn| {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        seen.lock().unwrap().push(Arc::clone(&bytes));
        let mut buffer = [0; 4_096];
        let mut answered = 0;
        while let Ok(count @ 1..) = conn.tcp.read(&mut buffer) {
            bytes.lock().unwrap().extend_from_slice(&buffer[..count]);
            let bytes = bytes.lock().unwrap().clone();
            while let Some(request) = judge(&bytes[answered..]) {
                answered += request.length;
                conn.answer("ok");
            }
        }
    })
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("Content-Length".to_owned()),
        Just("Transfer-Encoding".to_owned()),
        Just("Connection".to_owned()),
        Just("Host".to_owned()),
        Just("Expect".to_owned()),
        Just("TE".to_owned()),
        Just("Upgrade".to_owned()),
        Just("X_Forwarded-For".to_owned()),
        "[A-Za-z_-]{1,8}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("chunked".to_owned()),
        Just("5".to_owned()),
        Just("0".to_owned()),
        Just("close".to_owned()),
        Just("content-length, x".to_owned()),
        Just("gzip, chunked".to_owned()),
        "[ -~]{0,12}",
        "[0-9]{1,3}",
    ]
}

/// A request of sound framing, perhaps with odd fields beside.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("OPTIONS"), Just("BREW")];
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (method, "/[a-z0-9%?=]{0,10}", prop::collection::vec((token(), value()), 0..2), body, 0..4u8).prop_map(
        |(method, path, fields, body, framing)| {
            let mut out = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n").into_bytes();
            for (name, value) in fields {
                out.extend(format!("{name}: {value}\r\n").bytes());
            }
            match framing {
                0 => out.extend(b"\r\n"),
                1 => {
                    out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                    out.extend(body);
                }
                _ => {
                    out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(7) {
                        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        out.extend(chunk);
                        out.extend(b"\r\n");
                    }
                    out.extend(b"0\r\nX-Sum: 1\r\n\r\n");
                }
            }
            out
        },
    )
}

/// A change of a few bytes, at places where it hurts.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, Vec<u8>)>> {
    let bytes = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\t".to_vec()),
        Just(b"\0".to_vec()),
        Just(b":".to_vec()),
        Just(b";".to_vec()),
        Just(b"0".to_vec()),
        Just(b"+".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, bytes), 0..4)
}

fn mutate(mut bytes: Vec<u8>, mutations: Vec<(prop::sample::Index, u8, Vec<u8>)>) -> Vec<u8> {
    for (index, kind, with) in mutations {
        let at = index.index(bytes.len() + 1);
        let until = match kind {
            0 => at,
            1 => (at + 1).min(bytes.len()),
            _ => (at + with.len()).min(bytes.len()),
        };
        let with = if kind == 1 { Vec::new() } else { with };
        bytes.splice(at..until, with);
    }
    bytes
}

/// Sends `bytes` and ends our side; returns what came back until the connection ended.
fn exchange(rig: &Rig, bytes: &[u8]) -> Vec<u8> {
    let mut client = rig.client();
    // It may be refused before it was sent entirely.
    let _ = client.tcp.write_all(bytes);
    let _ = client.tcp.shutdown(Shutdown::Write);
    let mut back = Vec::new();
    // A reset is an end too; one that does not come is none.
    let ended = client.tcp.read_to_end(&mut back);
    let is_endless = ended.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!is_endless, "the connection goes on for ever: {:?}", String::from_utf8_lossy(bytes));
    back
}

/// How often an answer with this beginning of a status is in `back`: to a request of HTTP/1.0 it is one of HTTP/1.0.
fn answers(back: &[u8], status: &str) -> usize {
    [format!("HTTP/1.1 {status}"), format!("HTTP/1.0 {status}")]
        .iter()
        .map(|line| back.windows(line.len()).filter(|window| *window == line.as_bytes()).count())
        .sum()
}

/// The same cases in every run: a case that fails once fails until it is mended.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn what_is_forwarded_is_exactly_one_request_each_or_it_was_refused() {
    let limits = Limits { half_closed_ms: 1_000, first_byte_ms: 1_000, ..Limits::default() };
    let rig = Rig::with(1, limits, Face::Apps);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (forwarded, refused) = (Cell::new(0), Cell::new(0));
    runner(1_500)
        .run(&(request(), mutations(), request()), |(first, mutations, second)| {
            // A replica of its own behind the one port: a thread of the one before may only just begin to write down what it saw. And a
            // table without it first, so that each case has connections of its own.
            rig.publish(Vec::new());
            let seen = Seen::default();
            let replica = recording(&listener, &seen);
            rig.publish(vec![direct(1, &replica)]);
            let mut sent = mutate(first.clone(), mutations.clone());
            sent.extend(&second);
            let back = exchange(&rig, &sent);
            prop_assert!(answers(&back, "") > 0 || back.is_empty(), "no answer: {:?}", String::from_utf8_lossy(&back));
            let seen: Vec<Vec<u8>> = seen.lock().unwrap().iter().map(|bytes| bytes.lock().unwrap().clone()).collect();
            // Everything that a replica saw are whole requests, but for the last, which a client may have broken off or had refused.
            let mut read = Vec::new();
            for bytes in &seen {
                let mut at = 0;
                while let Some(request) = judge(&bytes[at..]) {
                    at += request.length;
                    read.push(request);
                }
                let rest = &bytes[at..];
                let was_refused = answers(&back, "400") > 0;
                prop_assert!(
                    rest.is_empty() || was_refused,
                    "a rest: {:?}, answered by {:?}",
                    String::from_utf8_lossy(rest),
                    String::from_utf8_lossy(&back)
                );
            }
            // Each is one answer: nobody behind the gateway saw a request that the gateway did not see.
            prop_assert_eq!(answers(&back, "200"), read.len(), "answers and requests of {:?}", String::from_utf8_lossy(&sent));
            forwarded.set(forwarded.get() + read.len());
            refused.set(refused.get() + usize::from(answers(&back, "4") > 0));
            // And each is the one that was sent in its place, as far as the judge can read what was sent.
            let mut at = 0;
            for got in &read {
                let Some(meant) = judge(&sent[at..]) else { break };
                at += meant.length;
                prop_assert_eq!(&got.body, &meant.body);
                prop_assert_eq!(&got.path, &meant.path);
            }
            Ok(())
        })
        .unwrap();
    // The cases are worth something only if there are many of each kind.
    assert!(forwarded.get() > 300 && refused.get() > 300, "{} forwarded, {} refused", forwarded.get(), refused.get());
}

#[test]
fn noise_ends_in_a_refusal_or_in_nothing() {
    let replica = Upstream::named("ok");
    let rig = Rig::with(1, Limits { half_closed_ms: 200, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    runner(200)
        .run(&prop::collection::vec(any::<u8>(), 1..400), |bytes| {
            let back = exchange(&rig, &bytes);
            prop_assert!(back.is_empty() || back.starts_with(b"HTTP/1.1 400 ") || back.starts_with(b"HTTP/1.1 505 "));
            Ok(())
        })
        .unwrap();
    assert_eq!(replica.requests(), 0);
    until("it serves on", || rig.get("/").status == 200);
}
