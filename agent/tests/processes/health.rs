//! Health checks and restart policies.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, this_program};
use crate::http;
use crate::proc::{is_alive, signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("health::readiness_comes_and_goes", readiness_comes_and_goes),
    ("health::hung_with_a_readiness_check", hung_with_a_readiness_check),
    ("health::hung_with_a_liveness_check", hung_with_a_liveness_check),
    ("health::a_redirect_is_not_followed", a_redirect_is_not_followed),
    ("health::checks_that_cannot_be_carried_out", checks_that_cannot_be_carried_out),
    ("health::runs_once", runs_once),
    ("health::on_failure", on_failure),
];

/// A web server whose status stands in a file.
struct Web {
    dir: tempfile::TempDir,
}

impl Web {
    fn new() -> Self {
        Web { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("status")
    }

    fn answers(&self, status: u16) {
        let next = self.dir.path().join("next");
        std::fs::write(&next, status.to_string()).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    fn spec(&self, checks: Value) -> Value {
        json!({ "command": [this_program(), "replica", "web"], "env": { "FILE": self.file() }, "grace_ms": 400, "health": checks })
    }
}

fn quick(mut check: Value) -> Value {
    for (name, value) in [("interval_ms", 100), ("timeout_ms", 200), ("unhealthy", 2), ("initial_grace_ms", 10_000)] {
        check.as_object_mut().unwrap().entry(name).or_insert(value.into());
    }
    check
}

fn one_is(agent: &Agent, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    agent.wait(what, |replicas| replicas.first().filter(|replica| check(replica)).cloned())
}

fn readiness_comes_and_goes() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    web.answers(503);
    agent.assign_spec(web.spec(json!([quick(json!({ "kind": "http", "path": "/healthz", "for": "readiness" }))])));
    let before = one_is(&agent, "its check has an answer", |replica| {
        replica["checks"][0]["error"] != "" && !replica["checks"][0]["error"].is_null()
    });
    assert_eq!((before["phase"].as_str(), before["ready"].as_bool()), (Some("starting"), Some(false)), "{before}");
    web.answers(200);
    let ready = one_is(&agent, "it is ready", |replica| replica["ready"] == true);
    web.answers(500);
    let unready = one_is(&agent, "it is not ready", |replica| replica["ready"] == false);
    assert_eq!((&unready["phase"], &unready["attempt"]), (&json!("running"), &json!(1)));
    let detail = unready["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("not ready: its check http /healthz has failed for ") && detail.ends_with(": it answered 500 (200-399 passes)"),
        "{detail}"
    );
    assert_eq!(unready["checks"][0]["state"], "failing");
    web.answers(200);
    let again = one_is(&agent, "it is ready again", |replica| replica["ready"] == true);
    assert_eq!((&again["pid"], &again["attempt"], &again["detail"]), (&ready["pid"], &json!(1), &json!("")));
    let figures = http::get(agent.port, "/metrics").body;
    for outcome in ["passed", "failed"] {
        let name = format!("ostler_agent_checks_total{{kind=\"http\",outcome=\"{outcome}\"}} ");
        let count = figures.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{figures}"));
        assert!(count.parse::<u64>().unwrap() >= 2, "{figures}");
    }
}

fn hung_with_a_readiness_check() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    agent.assign_spec(web.spec(json!([quick(json!({ "kind": "http", "for": "readiness" }))])));
    let pid = agent.wait_ready(1)[0];
    signal(pid, Signal::STOP);
    let hung = one_is(&agent, "it is not ready", |replica| replica["ready"] == false);
    assert_eq!((&hung["pid"], &hung["phase"]), (&json!(pid), &json!("running")), "{hung}");
    assert_eq!(hung["checks"][0]["error"], "did not answer within 200 ms");
    signal(pid, Signal::CONT);
    let again = one_is(&agent, "it is ready again", |replica| replica["ready"] == true);
    assert_eq!((&again["pid"], &again["restarts"]), (&json!(pid), &json!(0)));
}

fn hung_with_a_liveness_check() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    agent.assign_spec(web.spec(json!([quick(json!({ "kind": "http", "for": "liveness" }))])));
    let pid = agent.wait_ready(1)[0];
    signal(pid, Signal::STOP);
    let next = one_is(&agent, "it is replaced in place", |replica| replica["attempt"] == 2 && replica["ready"] == true);
    assert_eq!((&next["restarts"], &next["failures"]), (&json!(1), &json!(1)));
    assert!(!is_alive(pid));
    let why = "failed: its liveness check http / failed 2 times in a row: it did not answer within 200 ms";
    assert!(home.log().contains(why), "{}", home.log());
}

fn a_redirect_is_not_followed() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    web.answers(302);
    let id = agent.assign_spec(web.spec(json!([quick(json!({ "kind": "http", "path": "/here", "for": "both" }))])));
    agent.wait_ready(1);
    let logs = wait_for("it was asked", Duration::from_secs(5), || {
        let logs = http::get(agent.port, &format!("/v1/replicas/{id}/logs?stream=stdout")).body;
        (logs.lines().count() >= 3).then_some(logs)
    });
    assert!(logs.lines().all(|line| line == "GET /here HTTP/1.1"), "CVE-2022-29153: {logs}");
}

fn checks_that_cannot_be_carried_out() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    agent.assign_spec(web.spec(json!([{ "kind": "http", "path": "no/slash" }])));
    let replica = one_is(&agent, "it says so", |replica| replica["phase"] == "backoff");
    let detail = replica["detail"].as_str().unwrap();
    assert!(detail.contains("the app's health check 1 (http no/slash): its path must begin with /"), "{detail}");
}

fn script(policy: &str, file: &Path, body: &str) -> Value {
    let script = format!("echo run >> {}; echo one; echo two; {body}", file.display());
    json!({ "command": ["/bin/sh", "-c", script], "grace_ms": 400, "restart": { "when": policy, "first_ms": 20, "max_ms": 40 } })
}

fn runs(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

fn runs_once() {
    let (home, dir) = (Home::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("runs");
    let mut agent = Agent::start(&home);
    let id = agent.assign_spec(script("never", &file, "exit 3"));
    let replica = one_is(&agent, "it has finished", |replica| replica["finished"] == true);
    let detail = "its process exited with code 3; last lines: one | two; it is not started again (restart: never)";
    assert_eq!((&replica["phase"], &replica["detail"], &replica["ready"]), (&json!("stopped"), &json!(detail), &json!(false)));
    assert!(replica["pid"].is_null(), "{replica}");
    // It stays what it is while it is wanted, and goes when it is not.
    let spec = script("never", &file, "exit 3");
    let again = json!({ "specs": { "app0@1": spec }, "replicas": [{ "id": id, "app": "app0", "revision": 1, "phase": "run" }] });
    assert_eq!(agent.put(again).status, 202);
    assert_eq!(agent.replica(&id).unwrap()["finished"], true);
    assert_eq!(runs(&file), 1);
    assert_eq!(agent.put(json!({})).status, 202);
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    assert_eq!(runs(&file), 1);
}

fn on_failure() {
    let (home, dir) = (Home::new(), tempfile::tempdir().unwrap());
    let file = dir.path().join("runs");
    let mut agent = Agent::start(&home);
    let enough = format!("[ $(wc -l < {}) -lt 3 ] && exit 1; exit 0", file.display());
    agent.assign_spec(script("on-failure", &file, &enough));
    let replica = one_is(&agent, "it has finished", |replica| replica["finished"] == true);
    assert_eq!((&replica["attempt"], &replica["failures"]), (&json!(3), &json!(2)), "{replica}");
    assert!(replica["detail"].as_str().unwrap().starts_with("its process exited with code 0; last lines: one | two"), "{replica}");
    assert_eq!(runs(&file), 3);
}
