//! How requests are spread as an operator asks for it, and what can be seen of them.

use std::collections::BTreeSet;
use std::fs;

use crate::harness::home::Home;
use crate::harness::wait::wait_for;
use crate::harness::{Call, PATIENCE, Setup};

#[test]
fn a_client_stays_with_its_worker_by_the_cookie_that_it_was_given() {
    let cluster = Setup::new().controller_args(&["--balance", "cookie:stay"]).start();
    cluster.settle(4);
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        let first = cluster.get("/");
        let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let worker = first.ok().worker();
        for _ in 0..3 {
            let again = Call::get("/").header("Cookie", &cookie).send(cluster.address());
            assert!(again.header("set-cookie").is_none(), "{again:?}");
            assert_eq!(again.ok().worker(), worker);
        }
        seen.insert(worker);
    }
    assert!(seen.len() > 1, "new clients are spread: {seen:?}");
}

#[test]
fn requests_are_counted_and_written_down() {
    let home = Home::new();
    let log = home.path().join("access.log");
    let cluster = Setup::new().controller_args(&["--access-log", &log.to_string_lossy()]).start_in(home);
    cluster.settle(2);
    let worker = cluster.get("/a?status=200").ok().worker();
    assert_eq!(cluster.get("/?status=404").status(), 404);
    let line = wait_for(PATIENCE, "the line of the request", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().find(|line| line.contains("\"target\":\"/a?status=200\"")).map(str::to_owned).ok_or(text)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["status"], &line["app"], &line["replica"]), (&200.into(), &"worker".into(), &worker.as_str().into()), "{line}");
    let metrics = cluster.get("/metrics").ok();
    let text = metrics.text();
    for series in [
        "ostler_gateway_requests_total{app=\"worker\",class=\"2xx\"} 1",
        "ostler_gateway_requests_total{app=\"worker\",class=\"4xx\"} 1",
        "ostler_gateway_first_byte_seconds_count{app=\"worker\"} 2",
        "ostler_gateway_request_seconds_bucket{app=\"worker\",le=\"+Inf\"} 2",
        "ostler_gateway_requests_in_flight{app=\"worker\"} 0",
        "ostler_gateway_replicas_ejected{app=\"worker\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is not in:\n{text}");
    }
}

#[test]
fn a_worker_that_alone_answers_by_errors_is_left_out_and_the_log_says_why() {
    let cluster = Setup::new().agents(1).controller_args(&["--balance", "header:x-user"]).start();
    cluster.settle(3);
    // One user provokes errors on the worker that it belongs to; the others do well.
    let failing = Call::get("/?status=500").header("X-User", "7");
    let home = failing.send(cluster.address()).status();
    assert_eq!(home, 500);
    wait_for(PATIENCE, "a worker that is left out", || {
        for user in 8..20 {
            Call::get("/").header("X-User", &user.to_string()).send(cluster.address()).ok();
            failing.send(cluster.address());
        }
        let text = cluster.get("/metrics").ok().text();
        text.lines()
            .find(|line| *line == "ostler_gateway_ejections_total{app=\"worker\",reason=\"errors\"} 1")
            .map(drop)
            .ok_or(text.clone())
    });
    let log = cluster.controller.program.log();
    assert!(log.contains("gets no requests for 5000 ms: it answers by errors, and the others do not"), "{log}");
}

#[test]
fn the_reason_of_a_503_is_in_the_answer_and_in_the_log() {
    let cluster = Setup::new().agents(1).start();
    let detail = cluster.get("/").problem(503);
    let line = cluster.controller.program.wait_log(PATIENCE, "was answered by 503");
    assert!(line.contains("a request to app worker was answered by 503: ") && line.contains(&detail), "{line}");
}
