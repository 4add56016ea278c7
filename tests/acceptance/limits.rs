//! Limits of replicas: what is enforced, what is not and said so, and who is hurt by whoever goes beyond: nobody else.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::cluster::Agent;
use crate::harness::lines::Lines;
use crate::harness::{Call, Home, PATIENCE, needs, ports, processes, wait_for, wait_until};

const CLUSTER: &str = "0199b1c2-0000-7000-8000-000000000001";
/// The replica beside the one under test.
const NEIGHBOUR: usize = 0;
const TESTED: usize = 1;

fn id(nth: usize) -> String {
    format!("0199b1c2-0000-7000-8000-0000000000{nth:02}")
}

/// An agent with a worker beside whatever is tested.
struct Host {
    agent: Agent,
    home: Home,
    generation: u64,
}

impl Host {
    fn start() -> Self {
        Host::start_in(Home::new())
    }

    fn start_in(home: Home) -> Self {
        let agent = Agent::start(&home, ports::free(), &[]);
        Host { agent, home, generation: 0 }
    }

    /// Runs the neighbour, and replicas of these specs.
    fn run(&mut self, specs: &[Value]) {
        self.generation += 1;
        let neighbour = json!({ "command": ["worker"], "grace_ms": 500 });
        let all: Vec<&Value> = [&neighbour].into_iter().chain(specs).collect();
        let keyed: serde_json::Map<String, Value> =
            all.iter().enumerate().map(|(nth, spec)| (format!("app-{nth}@1"), (*spec).clone())).collect();
        let replicas: Vec<Value> =
            (0..all.len()).map(|nth| json!({ "id": id(nth), "app": format!("app-{nth}"), "revision": 1, "phase": "run" })).collect();
        let assignment = json!({
            "cluster": CLUSTER, "epoch": 1, "generation": self.generation, "requires": [], "lease_ms": 60_000,
            "specs": keyed, "replicas": replicas,
        });
        let answer = Call::new("PUT", "/v1/assignment").body(assignment.to_string()).send(self.agent.address());
        assert_eq!(answer.status(), 202, "{}", answer.text());
    }

    fn report(&self, nth: usize) -> Value {
        let snapshot = Lines::open(self.agent.address(), &Call::get("/v1/observe")).next(PATIENCE);
        let replicas = snapshot["snapshot"]["replicas"].as_array().unwrap().clone();
        replicas.into_iter().find(|replica| replica["id"] == id(nth)).unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, nth: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(PATIENCE, what, || {
            let report = self.report(nth);
            if fits(&report) { Ok(report) } else { Err(format!("{report:#}\n{}", self.agent.program.log())) }
        })
    }

    #[track_caller]
    fn wait_ready(&self, nth: usize) -> Value {
        self.wait(nth, "a replica that is ready", |report| report["ready"] == true)
    }

    /// The neighbour's process, which must be there.
    #[track_caller]
    fn neighbour(&self) -> u64 {
        let report = self.wait_ready(NEIGHBOUR);
        assert_eq!(report["restarts"], 0, "{report}");
        report["pid"].as_u64().unwrap()
    }

    /// Whether this host enforces a limit: a worker with it says so. Before anything is started that needs it.
    fn enforces(&mut self, test: &str, limits: &Value) -> bool {
        self.run(&[json!({ "command": ["worker"], "limits": limits, "grace_ms": 500 })]);
        let said = self.wait_ready(TESTED)["limits"].clone();
        let all = said.as_object().unwrap().values().all(|said| said == "enforced");
        self.run(&[]);
        self.wait(TESTED, "the end of the first worker", Value::is_null);
        needs::is_there(test, &format!("controllers that can be written for {limits} ({said})"), all)
    }
}

#[test]
fn each_limit_is_set_and_said_to_be() {
    let mut host = Host::start();
    host.run(&[json!({
        "command": ["worker"],
        "limits": { "memory_bytes": 268_435_456, "cpu": 0.5, "pids": 100, "open_files": 300, "core_bytes": 0, "nice": 5, "io": "best-effort:7" },
    })]);
    let report = host.wait_ready(TESTED);
    let said = report["limits"].as_object().unwrap();
    assert_eq!(said.len(), 7, "{report:#}");
    for name in ["open_files", "core_bytes", "nice", "io"] {
        assert_eq!(said[name], "enforced", "{report:#}");
    }
    for name in ["memory_bytes", "cpu", "pids"] {
        let text = said[name].as_str().unwrap();
        assert!(text == "enforced" || text.starts_with("not enforced: "), "{report:#}");
    }
    let pid = report["pid"].as_u64().unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let of = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("Max open files"), ["300", "300"]);
    assert_eq!(of("Max core file size"), ["0", "0"]);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16), Some("5"), "{stat}");
    if needs::is_there("a class of io", "ionice (util-linux)", needs::program("ionice").is_some()) {
        let said = Command::new("ionice").args(["-p", &pid.to_string()]).output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&said).trim(), "best-effort: prio 7");
    }
    // What was not asked for is as it always was, and nothing is said of it.
    assert_eq!(host.report(NEIGHBOUR).get("limits"), None);
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_with_a_sentence_and_hurts_nobody_else() {
    let mut host = Host::start();
    let nonsense =
        [json!({ "memory_bytes": 1 }), json!({ "cpu": -1 }), json!({ "pids": 0 }), json!({ "open_files": 1 }), json!({ "nice": 99 })];
    let specs: Vec<Value> = nonsense.iter().map(|limits| json!({ "command": ["worker"], "limits": limits })).collect();
    host.run(&specs);
    for (at, limits) in nonsense.iter().enumerate() {
        let name = limits.as_object().unwrap().keys().next().unwrap();
        let report = host.wait(at + 1, "a replica that waits", |report| report["phase"] == "backoff");
        let detail = report["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("limits.{name} is ")) && detail.contains("; give "), "{detail}");
    }
    host.neighbour();
}

#[test]
fn a_memory_hog_is_told_as_such_and_hurts_nobody_else() {
    let mut host = Host::start();
    let limits = json!({ "memory_bytes": 33_554_432 });
    let has_tail = needs::is_there("a memory hog", "tail", needs::program("tail").is_some());
    if !has_tail || !host.enforces("a memory hog", &limits) {
        return;
    }
    let neighbour = host.neighbour();
    // All of it is one line, which tail keeps.
    let as_first = json!({ "command": ["tail", "/dev/zero"], "limits": limits, "restart": { "first_ms": 500, "max_ms": 500 } });
    let as_child = json!({
        "command": ["sh", "-c", "tail /dev/zero || exit 3"], "limits": limits, "restart": { "first_ms": 500, "max_ms": 500 },
    });
    host.run(&[as_first, as_child]);
    for nth in [TESTED, TESTED + 1] {
        let report = host.wait(nth, "a hog that was ended", |report| report["phase"] == "backoff");
        let detail = report["detail"].as_str().unwrap();
        assert!(detail.contains("memory limit (limits.memory_bytes)"), "{detail}");
    }
    assert_eq!(host.neighbour(), neighbour);
}

#[test]
fn a_kill_that_is_no_want_of_memory_is_not_told_as_one() {
    let mut host = Host::start();
    host.run(&[json!({ "command": ["sh", "-c", "kill -9 $$"], "limits": { "memory_bytes": 67_108_864 } })]);
    let report = host.wait(TESTED, "a replica that waits", |report| report["phase"] == "backoff");
    assert_eq!(report["detail"], "its process was killed (SIGKILL)");
}

#[test]
fn a_fork_bomb_within_a_limit_hurts_nobody_else() {
    let mut host = Host::start();
    let limits = json!({ "pids": 30 });
    if !host.enforces("a fork bomb", &limits) {
        return;
    }
    let neighbour = host.neighbour();
    // At most 500 forks, even if nothing held it back.
    let mark = format!("1000.{}7", std::process::id());
    host.home.script("bomb", &format!("#!/bin/sh\nfor _ in $(seq 500); do sleep {mark} & done\nwait\n"));
    let count = || processes::all().iter().filter(|seen| seen.command.trim() == format!("sleep {mark}")).count();
    host.run(&[json!({ "command": ["bomb"], "limits": limits, "restart": { "first_ms": 300, "max_ms": 300 } })]);
    let most = std::cell::Cell::new(0);
    host.wait(TESTED, "a bomb that went off three times", |report| {
        most.set(most.get().max(count()));
        report["failures"].as_u64().unwrap_or(0) >= 3
    });
    assert!(most.get() <= 30, "{} processes", most.get());
    assert_eq!(host.neighbour(), neighbour);
    host.run(&[]);
    wait_until(PATIENCE, "end of the bomb", || count() == 0 && host.report(TESTED).is_null());
}

/// The agent sees no hierarchy at all: its own mounts, in which there is none.
#[test]
fn what_cannot_be_enforced_is_said_and_strict_limits_forbid_it() {
    let may = needs::is_root() && needs::program("unshare").is_some();
    if !needs::is_there("limits on a host without cgroups", "root, and the program unshare", may) {
        return;
    }
    let home = Home::new();
    fs::remove_file(home.cwd().join("agent")).unwrap();
    let unmount = "while umount -l /sys/fs/cgroup 2>/dev/null; do :; done";
    let agent = env!("CARGO_BIN_EXE_agent");
    home.script("agent", &format!("#!/bin/sh\nexec unshare -m sh -c '{unmount}; exec {agent} \"$@\"' agent \"$@\"\n"));
    let mut host = Host::start_in(home);
    let limits = json!({ "memory_bytes": 268_435_456, "cpu": 1, "pids": 100, "nice": 1 });
    host.run(&[
        json!({ "command": ["worker"], "limits": limits }),
        json!({ "command": ["worker"], "limits": limits, "strict_limits": true }),
        json!({ "command": ["worker"], "limits": { "nice": 1 }, "strict_limits": true }),
    ]);
    let report = host.wait_ready(TESTED);
    let said = |name: &str| report["limits"][name].as_str().unwrap().to_owned();
    assert_eq!(said("memory_bytes"), "not enforced: no memory controller can be written here");
    assert_eq!(said("cpu"), "not enforced: no cpu controller can be written here");
    assert!(said("pids").starts_with("not enforced: root"), "{report:#}");
    assert_eq!(said("nice"), "enforced");
    let report = host.wait(TESTED + 1, "a replica that waits", |report| report["phase"] == "backoff");
    let detail = report["detail"].as_str().unwrap();
    assert!(detail.contains("limits.cpu is not enforced: ") && detail.contains("strict_limits"), "{detail}");
    host.wait_ready(TESTED + 2);
    host.neighbour();
}
