//! What an agent answers to whoever dials it; here the test is the controller.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::cluster::Agent;
use crate::harness::lines::Lines;
use crate::harness::{Answer, Call, Home, PATIENCE, ports, processes, wait_until};

const CLUSTER: &str = "0199b1c2-0000-7000-8000-000000000001";
const OTHER_CLUSTER: &str = "0199b1c2-0000-7000-8000-000000000002";
const REPLICA: &str = "0199b1c2-0000-7000-8000-00000000000a";
const OTHER_REPLICA: &str = "0199b1c2-0000-7000-8000-00000000000b";

fn assignment(cluster: &str, epoch: u64, generation: u64, replicas: &[(&str, &str)]) -> Value {
    let replicas: Vec<Value> =
        replicas.iter().map(|(id, phase)| json!({ "id": id, "app": "worker", "revision": 1, "phase": phase })).collect();
    json!({
        "cluster": cluster,
        "epoch": epoch,
        "generation": generation,
        "requires": [],
        "lease_ms": 3000,
        "specs": { "worker@1": { "command": ["worker"], "env": { "COLOUR": "red" }, "drain_ms": 1000, "grace_ms": 1000 } },
        "replicas": replicas,
    })
}

fn put(agent: &Agent, assignment: &Value) -> Answer {
    Call::new("PUT", "/v1/assignment").body(assignment.to_string()).send(agent.address())
}

fn observe(agent: &Agent) -> Lines {
    Lines::open(agent.address(), &Call::get("/v1/observe"))
}

/// Replicas as a line reports them: one of them, or all.
fn reports(line: &Value) -> Vec<Value> {
    match (line.get("snapshot"), line.get("replica")) {
        (Some(snapshot), _) => snapshot["replicas"].as_array().unwrap().clone(),
        (_, Some(replica)) => vec![replica.clone()],
        _ => vec![],
    }
}

/// Waits for the report that a replica is ready.
fn ready(lines: &mut Lines, id: &str) -> Value {
    let line = lines.find(PATIENCE, "report of a ready replica", |line| {
        reports(line).iter().any(|report| report["id"] == id && report["ready"] == true)
    });
    reports(&line).into_iter().find(|report| report["id"] == id).unwrap()
}

#[test]
fn an_agent_says_who_it_is() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &["--name".to_owned(), "web-1".to_owned()]);
    let node = Call::get("/v1/node").send(agent.address()).ok().json();
    assert_eq!(node["name"], "web-1");
    assert_eq!(node["os"], "linux");
    assert_eq!(node["keep_workers"], false);
    assert!(node["instance"].as_str().is_some_and(|instance| instance.len() == 36), "{node}");
    assert!(node["cores"].as_u64().is_some_and(|cores| cores > 0), "{node}");
    assert!(node["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{node}");
    assert!(node["version"].is_string(), "{node}");
    let metrics = Call::get("/metrics").send(agent.address()).ok();
    assert!(
        metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain") || kind.contains("openmetrics")),
        "{metrics:?}"
    );
}

#[test]
fn observations_begin_with_a_snapshot_and_never_fall_silent() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let mut lines = observe(&agent);
    let first = lines.next(PATIENCE);
    assert_eq!(first["seq"], 1, "{first}");
    assert_eq!(first["snapshot"]["replicas"], json!([]), "{first}");
    let second = lines.next(PATIENCE);
    assert_eq!((&second["seq"], &second["instance"]), (&json!(2), &first["instance"]), "{second}");
    assert!(second.get("heartbeat").is_some(), "{second}");

    assert_eq!(put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")])).status(), 202);
    let report = ready(&mut lines, REPLICA);
    assert_eq!(
        (&report["app"], &report["revision"], &report["attempt"], &report["phase"]),
        (&json!("worker"), &json!(1), &json!(1), &json!("running"))
    );
    assert!(report["pid"].is_u64() && report["port"].is_u64() && report["age_ms"].is_u64(), "{report}");
    let line = lines.find(PATIENCE, "line that says what is obeyed", |line| line["applied"]["generation"] == 1);
    assert_eq!((&line["applied"]["epoch"], &line["cluster"]), (&json!(1), &json!(CLUSTER)));

    // Whoever comes later begins with all of it.
    let snapshot = observe(&agent).next(PATIENCE);
    assert_eq!(reports(&snapshot).len(), 1, "{snapshot}");
    put(&agent, &assignment(CLUSTER, 1, 2, &[]));
    lines.find(PATIENCE, "the end of the replica", |line| reports(line).iter().any(|report| report["phase"] == "stopped"));
}

#[test]
fn older_and_foreign_assignments_never_win() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let mut lines = observe(&agent);
    assert_eq!(put(&agent, &assignment(CLUSTER, 5, 7, &[(REPLICA, "run")])).status(), 202);
    let pid = ready(&mut lines, REPLICA)["pid"].clone();

    for (what, refused) in [
        ("an older epoch", assignment(CLUSTER, 4, 9, &[])),
        ("an older generation", assignment(CLUSTER, 5, 6, &[])),
        ("another cluster", assignment(OTHER_CLUSTER, 9, 9, &[])),
    ] {
        let answer = put(&agent, &refused);
        answer.problem(409);
        let text = answer.text();
        assert!(
            text.contains(CLUSTER) && text.contains("\"epoch\":5") && text.contains("\"generation\":7"),
            "{what}: it says what it has: {text}"
        );
    }
    let mut lacking = assignment(CLUSTER, 6, 1, &[]);
    lacking["requires"] = json!(["what-no-agent-can"]);
    assert!(put(&agent, &lacking).problem(422).contains("what-no-agent-can"));

    // The same again renews the lease; a field of tomorrow is nothing to it.
    let mut again = assignment(CLUSTER, 5, 7, &[(REPLICA, "run")]);
    again["tomorrow"] = json!({ "x": 1 });
    again["replicas"][0]["colour"] = json!("red");
    assert_eq!(put(&agent, &again).status(), 202);
    let snapshot = observe(&agent).next(PATIENCE);
    assert_eq!(reports(&snapshot)[0]["pid"], pid, "{snapshot}");

    let mut take_over = assignment(OTHER_CLUSTER, 1, 1, &[(OTHER_REPLICA, "run")]);
    take_over["take_over"] = json!(true);
    assert_eq!(put(&agent, &take_over).status(), 202);
    ready(&mut lines, OTHER_REPLICA);
    wait_until(PATIENCE, "end of the first cluster's replica", || processes::of_replica(home.path(), REPLICA).is_empty());
}

#[test]
fn assignments_that_make_no_sense_are_refused() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let mut lines = observe(&agent);
    assert_eq!(put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")])).status(), 202);
    let pid = ready(&mut lines, REPLICA)["pid"].clone();

    let mut no_spec = assignment(CLUSTER, 1, 2, &[(REPLICA, "run")]);
    no_spec["specs"] = json!({});
    let mut bad_id = assignment(CLUSTER, 1, 2, &[("../../etc/passwd", "run")]);
    let mut bad_phase = assignment(CLUSTER, 1, 2, &[(REPLICA, "dance")]);
    let mut twice = assignment(CLUSTER, 1, 2, &[(REPLICA, "run"), (REPLICA, "stop")]);
    let mut bad_app = assignment(CLUSTER, 1, 2, &[(REPLICA, "run")]);
    bad_app["replicas"][0]["app"] = json!("../worker");
    let mut no_cluster = assignment(CLUSTER, 1, 2, &[]);
    no_cluster.as_object_mut().unwrap().remove("cluster");
    let mut negative = assignment(CLUSTER, 1, 2, &[]);
    negative["epoch"] = json!(-1);
    for assignment in [&mut no_spec, &mut bad_id, &mut bad_phase, &mut twice, &mut bad_app, &mut no_cluster, &mut negative] {
        let answer = put(&agent, assignment);
        assert!(matches!(answer.status(), 400 | 422), "{}: {assignment}", answer.status());
        answer.any_problem();
    }
    for garbage in [&b""[..], b"{", b"null", b"[]", b"\xff\xff", &b"[".repeat(200_000)] {
        let answer = Call::new("PUT", "/v1/assignment").body(garbage).send(agent.address());
        answer.problem(400);
    }
    for (method, path, status) in
        [("POST", "/v1/assignment", 405), ("PUT", "/v1/observe", 405), ("GET", "/v1/nothing", 404), ("GET", "/", 404)]
    {
        Call::new(method, path).send(agent.address()).problem(status);
    }
    let snapshot = observe(&agent).next(PATIENCE);
    assert_eq!(reports(&snapshot)[0]["pid"], pid, "{snapshot}");
    assert_eq!(snapshot["applied"]["generation"], 1, "{snapshot}");
}

#[test]
fn a_replica_gets_the_environment_of_the_contract() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &["--name".to_owned(), "web-1".to_owned()]);
    let mut lines = observe(&agent);
    put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")]));
    let report = ready(&mut lines, REPLICA);
    let pid = u32::try_from(report["pid"].as_u64().unwrap()).unwrap();
    let mut variables = processes::variables(pid);
    variables.retain(|(name, _)| !matches!(name.as_str(), "PATH" | "HOME" | "LANG" | "TZ"));
    variables.sort();
    let port = report["port"].to_string();
    let expected = [
        ("COLOUR", "red"),
        ("HOST", "127.0.0.1"),
        ("OSTLER_APP", "worker"),
        ("OSTLER_NODE", "web-1"),
        ("OSTLER_REPLICA_ID", REPLICA),
        ("PORT", &port),
    ];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(variables, expected);

    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1024", "1024"], "{files}");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_string_lossy(), "/dev/null");
    // Its own session; and it holds nothing of the agent's or the guardian's.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, pid.to_string());
}

#[test]
fn a_tunnel_leads_to_a_replica_and_nowhere_else() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let mut lines = observe(&agent);
    put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")]));
    ready(&mut lines, REPLICA);
    let tunnel =
        |id: &str| Call::get(&format!("/v1/replicas/{id}/tunnel")).header("Connection", "upgrade").header("Upgrade", "ostler-tunnel");

    let (head, mut wire) = tunnel(REPLICA).open(agent.address()).unwrap();
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.header("upgrade"), Some("ostler-tunnel"));
    let stream = wire.stream_mut();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("Hello from Worker ID: {REPLICA}. Uptime: ")), "{answer}");

    let (head, _) = tunnel(OTHER_REPLICA).open(agent.address()).unwrap();
    assert_eq!(head.status, 404, "{head:?}");
    let answer = Call::get(&format!("/v1/replicas/{REPLICA}/tunnel")).send(agent.address());
    assert!((400..=426).contains(&answer.status()), "without an upgrade: {answer:?}");
    let (head, _) = tunnel("..%2f").open(agent.address()).unwrap();
    assert!(matches!(head.status, 400 | 404), "{head:?}");
}

#[test]
fn a_slow_reader_harms_nobody_and_readers_are_bounded() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let mut readers: Vec<Lines> = (0..16).map(|_| observe(&agent)).collect();
    for reader in &mut readers {
        reader.next(PATIENCE);
    }
    let (head, _) = Call::get("/v1/observe").open(agent.address()).unwrap();
    assert_eq!(head.status, 503, "the 17th reader: {head:?}");
    // Fifteen of them never read again; the last still hears.
    let mut last = readers.pop().unwrap();
    put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")]));
    ready(&mut last, REPLICA);
    readers.clear();
    wait_until(PATIENCE, "a place for a reader", || {
        Call::get("/v1/observe").within(Duration::from_secs(5)).open(agent.address()).is_ok_and(|(head, _)| head.status == 200)
    });
}

#[test]
fn an_agent_that_is_told_to_end_says_goodbye() {
    let home = Home::new();
    let mut agent = Agent::start(&home, ports::free(), &[]);
    let mut lines = observe(&agent);
    put(&agent, &assignment(CLUSTER, 1, 1, &[(REPLICA, "run")]));
    ready(&mut lines, REPLICA);
    agent.program.interrupt();
    let line = lines.find(PATIENCE, "goodbye", |line| line.get("leaving").is_some());
    assert!(line["leaving"]["within_ms"].as_u64().is_some_and(|ms| ms > 0), "{line}");
    // It waits for replacements; the controller has them, and says so.
    put(&agent, &assignment(CLUSTER, 1, 2, &[(REPLICA, "drain")]));
    put(&agent, &assignment(CLUSTER, 1, 3, &[(REPLICA, "stop")]));
    assert!(agent.program.wait_end(PATIENCE).success());
    assert!(processes::of_replica(home.path(), REPLICA).is_empty());
}
