//! Health checks and restart policies.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, new_id, this_program};
use crate::http;
use crate::proc::{is_alive, signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("health::readiness_comes_and_goes", readiness_comes_and_goes),
    ("health::hung_with_a_readiness_check", hung_with_a_readiness_check),
    ("health::hung_with_a_liveness_check", hung_with_a_liveness_check),
    ("health::a_redirect_is_not_followed", a_redirect_is_not_followed),
    ("health::checks_that_cannot_be_carried_out", checks_that_cannot_be_carried_out),
    ("health::a_command_decides", a_command_decides),
    ("health::a_command_that_hangs_is_ended_whole", a_command_that_hangs_is_ended_whole),
    ("health::many_commands_and_a_guardian_that_dies", many_commands_and_a_guardian_that_dies),
    ("health::a_replica_calls_its_url", a_replica_calls_its_url),
    ("health::a_replica_notifies", a_replica_notifies),
    ("health::a_stranger_is_not_heard", a_stranger_is_not_heard),
    ("health::a_hundred_idle_replicas", a_hundred_idle_replicas),
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
        self.says(&status.to_string());
    }

    fn says(&self, text: &str) {
        let next = self.dir.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// One that speaks up itself, and says what stands in the file.
    fn notifier(&self, purpose: &str) -> Value {
        let checks = json!([{ "kind": "push", "for": purpose, "interval_ms": 300, "unhealthy": 2, "initial_grace_ms": 300 }]);
        json!({ "command": [this_program(), "replica", "notify"], "env": { "FILE": self.file() }, "grace_ms": 400, "health": checks })
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

fn a_command_decides() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    let test = "test -e \"$FILE\" && test -n \"$PORT\" || { echo the file is not there >&2; exit 4; }";
    agent.assign_spec(web.spec(json!([quick(json!({ "kind": "exec", "command": ["sh", "-c", test], "timeout_ms": 5_000 }))])));
    let before = one_is(&agent, "its check has an answer", |replica| replica["checks"][0]["error"].is_string());
    assert_eq!(before["checks"][0]["error"], "exited with code 4; its last line: the file is not there", "{before}");
    assert_eq!(before["ready"], false);
    web.answers(200);
    agent.wait_ready(1);
    std::fs::remove_file(web.file()).unwrap();
    one_is(&agent, "it is not ready", |replica| replica["ready"] == false && replica["phase"] == "running");
}

fn a_command_that_hangs_is_ended_whole() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    let mark = format!("{}", 900_000 + std::process::id());
    let hang = format!("trap '' TERM; sleep {mark} & sleep {mark}; yes");
    agent.assign_spec(
        web.spec(json!([quick(json!({ "kind": "exec", "command": ["sh", "-c", hang], "for": "both", "initial_grace_ms": 0 }))])),
    );
    let sleepers = || {
        let is_one =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default() == format!("sleep\0{mark}\0").into_bytes();
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(is_one).count()
    };
    wait_for("the check hangs", Duration::from_secs(5), || (sleepers() > 0).then_some(()));
    let next = one_is(&agent, "its liveness failed", |replica| replica["failures"].as_u64() >= Some(1));
    assert!(home.log().contains("its liveness check exec sh failed 2 times in a row: it did not answer within 200 ms"), "{next}");
    agent.put(json!({}));
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    wait_for("nothing is left of the checks", Duration::from_secs(5), || (sleepers() == 0).then_some(()));
}

fn many_commands_and_a_guardian_that_dies() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let spec = json!({
        "command": [this_program(), "replica", "echo"],
        "grace_ms": 400,
        "health": [{ "kind": "exec", "command": ["true"], "interval_ms": 200, "timeout_ms": 10_000 }],
    });
    let ids: Vec<String> = (0..20).map(|_| new_id()).collect();
    agent.ids.extend(ids.clone());
    let replicas: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "app": "app0", "revision": 1, "phase": "run" })).collect();
    assert_eq!(agent.put(json!({ "specs": { "app0@1": spec }, "replicas": replicas })).status, 202);
    agent.wait_ready(20);
    signal(agent.guardian(), Signal::KILL);
    agent.wait("all run again and are ready", |replicas| {
        replicas.iter().all(|replica| replica["attempt"].as_u64() >= Some(2) && replica["ready"] == true).then_some(())
    });
}

fn a_replica_calls_its_url() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    let mut spec = web.spec(json!([quick(json!({ "kind": "push", "for": "readiness" }))]));
    let tell = format!("echo $OSTLER_HEALTH_URL > {0}.next; mv {0}.next {0}; exec {1} replica echo", web.file().display(), this_program());
    spec["command"] = json!(["/bin/sh", "-c", tell]);
    agent.assign_spec(spec);
    let url = wait_for("it knows its URL", Duration::from_secs(5), || std::fs::read_to_string(web.file()).ok());
    let path = url.trim().strip_prefix(&format!("http://127.0.0.1:{}", agent.port)).unwrap_or_else(|| panic!("{url}")).to_owned();
    let call = |path: &str, body: &str| http::call(agent.port, "POST", path, &[], body.as_bytes()).status;
    one_is(&agent, "it runs", |replica| !replica["pid"].is_null());
    assert_eq!(call(&path, "nonsense"), 400);
    assert_eq!(call(&path, &"x".repeat(5_000)), 400);
    assert_eq!(call(&format!("{path}x"), ""), 404);
    assert_eq!(agent.replicas()[0]["ready"], false);
    assert_eq!(call(&path, ""), 204);
    agent.wait_ready(1);
    assert_eq!(call(&path, r#"{"ready":false,"detail":"full"}"#), 204);
    let unready = one_is(&agent, "it is not ready", |replica| replica["ready"] == false);
    assert!(unready["detail"].as_str().unwrap().ends_with(": it said that it is not ready: full"), "{unready}");
}

fn a_replica_notifies() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    web.says("READY=1\nWATCHDOG=1");
    agent.assign_spec(web.notifier("both"));
    agent.wait_ready(1);
    web.says("STOPPING=1");
    one_is(&agent, "it is not ready", |replica| replica["ready"] == false && replica["attempt"] == 1);
    web.says("READY=1");
    agent.wait_ready(1);
    // It falls silent.
    web.says("");
    one_is(&agent, "it is started again", |replica| replica["attempt"] == 2);
    let why = "failed: its liveness check push failed 2 times in a row: it was not heard for 300 ms";
    assert!(home.log().contains(why), "{}", home.log());
}

fn a_stranger_is_not_heard() {
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    let id = agent.assign_spec(web.notifier("readiness"));
    one_is(&agent, "it runs", |replica| !replica["pid"].is_null());
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(b"READY=1", home.runtime().join("replicas").join(&id).join("notify")).unwrap();
    wait_for("it was left out", Duration::from_secs(5), || home.log().contains("left out what a stranger said").then_some(()));
    assert_eq!(agent.replicas()[0]["ready"], false);
    web.says("READY=1");
    agent.wait_ready(1);
}

/// What agent and guardian cost while nothing happens but checks. The figure is printed; the limit is far above it, since tests are built
/// without optimisation and run beside others.
fn a_hundred_idle_replicas() {
    const WINDOW: Duration = Duration::from_secs(4);
    if !Path::new("/proc/self/schedstat").exists() {
        println!("  SKIPPED: this kernel has no /proc/PID/schedstat");
        return;
    }
    let (home, web) = (Home::new(), Web::new());
    let mut agent = Agent::start(&home);
    let mut spec = web.spec(json!([{ "kind": "http", "path": "/healthz", "for": "both", "interval_ms": 2_000 }]));
    spec["env"]["QUIET"] = json!("1");
    let ids: Vec<String> = (0..100).map(|_| new_id()).collect();
    agent.ids.extend(ids.clone());
    let replicas: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "app": "app0", "revision": 1, "phase": "run" })).collect();
    assert_eq!(agent.put(json!({ "specs": { "app0@1": spec }, "replicas": replicas })).status, 202);
    agent.wait_ready(100);
    let pids = [agent.pid(), agent.guardian()];
    let checks = || -> u64 {
        let figures = http::get(agent.port, "/metrics").body;
        let name = "ostler_agent_checks_total{kind=\"http\",outcome=\"passed\"} ";
        figures.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
    };
    let before = (pids.map(cpu_us), checks());
    // A window of time is what is measured.
    std::thread::sleep(WINDOW);
    let after = (pids.map(cpu_us), checks());
    let used_us: u64 = after.0.iter().zip(before.0).map(|(after, before)| after - before).sum();
    let percent = used_us as f64 * 100.0 / WINDOW.as_micros() as f64;
    let [by_agent, by_guardian] = [0, 1].map(|at| after.0[at] - before.0[at]);
    println!(
        "  {} checks in {} s: agent {by_agent} us, guardian {by_guardian} us, {percent:.2} % of a core",
        after.1 - before.1,
        WINDOW.as_secs()
    );
    assert!((150..=260).contains(&(after.1 - before.1)), "{} checks", after.1 - before.1);
    assert!(percent < 25.0, "{percent} %");
}

/// The time that a process has used, in microseconds. Agent and guardian have one thread each.
fn cpu_us(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000
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
