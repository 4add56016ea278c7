//! Workers that end connections, without a word before: those that are idle, under requests that are timed around that end; and one that
//! dies within an answer. Such a worker is a script, since ours does not.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::http::{Kept, raw};
use crate::harness::tally::Outcome;
use crate::harness::traffic::{Errand, Expected};
use crate::harness::wire::{Framing, Wire};
use crate::harness::{Cluster, PATIENCE, Setup, hasty_worker, processes, wait};

/// Who sends at once.
const CLIENTS: u32 = 16;

/// Replicas that end a connection when it was idle for so long. `None` where there is no Python, which was said.
#[track_caller]
fn cluster(test: &str, idle_seconds: u32, count: usize) -> Option<Cluster> {
    let cluster = Setup::new().start_in(hasty_worker::home(test, idle_seconds)?);
    cluster.settle(count);
    Some(cluster)
}

fn errands(number: u32) -> Errand {
    let body = format!("body {number}").into_bytes();
    match number % 4 {
        0 => Errand::new("GET", "/", None, Expected::Greeting),
        1 => Errand::new("POST", "/echo", Some(body), Expected::Echo),
        2 => Errand::new("PUT", "/echo", Some(body), Expected::Echo),
        _ => Errand::new("POST", "/", None, Expected::Greeting),
    }
}

/// All clients send at each of these times, a little before or after it; each keeps its connection.
fn send_around(address: SocketAddr, times: &[Duration]) -> Vec<Outcome> {
    let start = Instant::now();
    let client = |nth: u32| {
        let mut kept: Option<Kept> = None;
        let mut outcomes = Vec::new();
        for (round, time) in (0..).zip(times) {
            // From 16 ms before to 14 ms after.
            wait::until(start + *time + Duration::from_millis(2) * nth - Duration::from_millis(16).min(*time));
            outcomes.push(errands(nth + round).run(address, &mut kept, true));
        }
        outcomes
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|nth| scope.spawn(move || client(nth))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[track_caller]
fn assert_all_well(outcomes: &[Outcome]) {
    let failures: Vec<&Outcome> = outcomes.iter().filter(|outcome| **outcome != Outcome::Well).collect();
    assert!(failures.is_empty(), "{} of {} requests failed: {failures:#?}", failures.len(), outcomes.len());
}

#[test]
fn no_request_meets_the_end_of_a_connection_that_its_worker_ends_right_behind_each_answer() {
    let Some(cluster) = cluster("a worker that ends each connection at once", 0, 2) else { return };
    let start = Instant::now();
    let address = cluster.address();
    let client = |nth: u32| {
        let mut kept = None;
        let mut outcomes = Vec::new();
        while start.elapsed() < Duration::from_secs(3) {
            outcomes.push(errands(nth + u32::try_from(outcomes.len()).unwrap()).run(address, &mut kept, true));
        }
        outcomes
    };
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|nth| scope.spawn(move || client(nth))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(outcomes.len() > 100, "this was no load: {} requests", outcomes.len());
    assert_all_well(&outcomes);
}

#[test]
fn no_request_meets_the_end_of_a_connection_that_its_worker_ends_after_2_seconds() {
    let Some(cluster) = cluster("a worker that ends connections after 2 s", 2, 2) else { return };
    let times: Vec<Duration> = [0, 2_000, 4_000, 4_500, 6_500].into_iter().map(Duration::from_millis).collect();
    assert_all_well(&send_around(cluster.address(), &times));
}

#[test]
fn no_request_meets_the_end_of_a_connection_that_its_worker_ends_after_5_seconds() {
    let Some(cluster) = cluster("a worker that ends connections after 5 s", 5, 2) else { return };
    // The gateway's own limit is 4 s.
    let times: Vec<Duration> = [0, 4_000, 4_900, 5_000].into_iter().map(Duration::from_millis).collect();
    assert_all_well(&send_around(cluster.address(), &times));
}

/// Reads on until the end of an answer, or until it breaks off; gives how much there was.
fn read_on(wire: &mut Wire, framing: &mut Framing) -> (usize, io::Result<()>) {
    let mut count = 0;
    loop {
        match wire.piece(framing) {
            Ok(Some(piece)) => count += piece.len(),
            Ok(None) => return (count, Ok(())),
            Err(error) => return (count, Err(error)),
        }
    }
}

#[test]
fn a_large_answer_whose_worker_is_killed_is_seen_to_be_cut_however_it_is_framed() {
    let Some(cluster) = cluster("a worker that is killed within an answer", 5, 1) else { return };
    let cases = [("/length", "1.1"), ("/chunked", "1.1"), ("/length", "1.0"), ("/chunked", "1.0")];
    for (restarts, (path, version)) in (0..).zip(cases) {
        let status = cluster.wait_status("the replica", |status| status.has_settled(1) && status.replicas[0].restarts == restarts);
        let request = format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n");
        let mut wire = raw(cluster.address(), request.as_bytes(), PATIENCE).unwrap();
        let head = wire.head().unwrap();
        let mut framing = head.framing("GET");
        let expected = if version == "1.0" && path == "/chunked" { Framing::Close } else { framing };
        assert_eq!((head.status, framing), (200, expected), "{path} HTTP/{version}");
        assert!(wire.piece(&mut framing).unwrap().is_some());
        processes::kill(status.replicas[0].pid.unwrap());
        let (count, end) = read_on(&mut wire, &mut framing);
        let error = end.expect_err("a cut answer was ended as if it were whole");
        assert!(error.kind() != io::ErrorKind::TimedOut, "{path} HTTP/{version} stood still behind {count} bytes: {error}");
        if framing == Framing::Close {
            // Only a reset tells where the end of the connection is the end of the answer.
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{path} HTTP/{version}");
        }
    }
}
