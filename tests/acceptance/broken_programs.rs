//! What cannot be started: each time `/status` says why and with which path, it is tried again, nothing else suffers, and once the cause is
//! gone it comes up by itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::harness::cluster::Agent;
use crate::harness::lines::Lines;
use crate::harness::wait::{PATIENCE, wait_for};
use crate::harness::{Call, Cluster, Home, Setup, ports};

/// A way to break a program: its name, how it is put in the program's place, and what is said of it.
type Way = (&'static str, fn(&Path), &'static str);

const WAYS: [Way; 9] = [
    ("missing", |_| {}, "was not found in "),
    ("not executable", |path| put(path, b"#!/bin/sh\nexit 0\n", 0o644), " is not executable: chmod +x it"),
    ("a directory", |path| fs::create_dir(path).unwrap(), " is a directory"),
    ("a link to nothing", |path| symlink("nowhere", path).unwrap(), " is a link that leads nowhere"),
    ("empty", |path| put(path, b"", 0o755), "the file is empty"),
    ("a script without an interpreter", |path| put(path, b"exec sleep 1000\n", 0o755), "no script that begins with #!"),
    (
        "a script whose interpreter is not there",
        |path| put(path, b"#!/no/such/interpreter\n", 0o755),
        "its interpreter or loader is not there",
    ),
    ("of another machine", |path| put(path, &vax(), 0o755), "it was built for another kind of machine (ELF machine 75)"),
    ("cut short", |path| put(path, b"\x7fELF\x02\x01", 0o755), "the file is cut short"),
];

fn put(path: &Path, text: &[u8], mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The head of a program for a machine that nobody runs this on.
fn vax() -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(16, 0);
    head.extend([2, 0, 75, 0, 1, 0, 0, 0]);
    head.resize(64, 0);
    head
}

/// Puts the true program back.
fn mend(cluster: &Cluster) {
    let path = cluster.home.cwd().join("worker");
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir(&path).unwrap(),
        Ok(_) => fs::remove_file(&path).unwrap(),
        Err(_) => {}
    }
    cluster.home.copy_program("worker");
}

#[test]
fn a_broken_program_is_told_tried_again_and_started_once_it_is_mended() {
    // The agent is no link, so that no worker lies beside its program; nor is one on PATH.
    let mut home = Home::without_programs();
    home.empty_path();
    ["agent", "controller", "worker"].into_iter().for_each(|name| home.copy_program(name));
    let path = home.cwd().join("worker");
    let cluster = Setup::new().agents(1).start_in(home);
    let well = cluster.settle(1).replicas.remove(0);
    for (way, break_it, said) in WAYS {
        fs::remove_file(&path).unwrap();
        break_it(&path);
        cluster.scale(2);
        let status = cluster.wait_status(&format!("a reason, and another try ({way})"), |status| {
            let other = status.replicas.iter().find(|replica| replica.id != well.id);
            other.is_some_and(|other| other.detail.contains(said) && other.restarts >= 2)
        });
        let other = status.replicas.iter().find(|replica| replica.id != well.id).unwrap();
        assert!(other.detail.contains(&*cluster.home.cwd().to_string_lossy()), "{way}: {other:#?}");
        assert!(!other.ready && other.pid.is_none(), "{way}: {other:#?}");
        assert!(
            status.worker().waiting.iter().any(|sentence| sentence.contains(&other.id) || sentence.contains(said)),
            "{way}: {status:#?}"
        );
        let before = status.replicas.iter().find(|replica| replica.id == well.id).unwrap();
        assert_eq!((before.pid, before.restarts, before.ready), (well.pid, 0, true), "{way}");
        assert!(cluster.get("/").ok().text().contains(&well.id), "{way}");

        mend(&cluster);
        let status = cluster.wait_settled(2);
        assert!(status.worker().waiting.is_empty(), "{way}: {status:#?}");
        // The younger one goes.
        let status = cluster.settle(1);
        assert_eq!((&status.replicas[0].id, status.replicas[0].pid), (&well.id, well.pid), "{way}");
    }
}

#[test]
fn a_limit_that_is_nonsense_is_told_and_hurts_nobody_else() {
    let home = Home::new();
    let agent = Agent::start(&home, ports::free(), &[]);
    let cases = [
        (json!({ "pids": 0 }), "limits.pids is 0; give 1 to "),
        (json!({ "memory_bytes": 5 }), "limits.memory_bytes is 5; give at least "),
        (json!({ "cpu": -1 }), "limits.cpu is -1; give a number of processors"),
        (json!({ "nice": 99 }), "limits.nice is 99; give -20 to 19"),
    ];
    // Replica 0 is well all the time. Each wrong one is replaced by one of a revision that is mended.
    for (nth, (limits, said)) in cases.into_iter().enumerate() {
        let (wrong, mended) = (2 * nth + 1, 2 * nth + 2);
        assign(&agent, wrong, json!({ "command": ["worker"], "limits": limits }));
        let seen = wait_for(PATIENCE, "a reason, and another try", || {
            let seen = observed(&agent);
            let other = &seen[id(wrong)];
            let is_told = other["detail"].as_str().is_some_and(|detail| detail.contains(said)) && other["restarts"].as_u64() >= Some(2);
            if is_told && seen[id(0)]["ready"] == true { Ok(seen) } else { Err(format!("{seen:#?}")) }
        });
        assert_eq!(seen[id(0)]["attempt"], 1, "{seen:#?}");
        assign(&agent, mended, json!({ "command": ["worker"] }));
        wait_for(PATIENCE, "the start of the one that is mended", || {
            let seen = observed(&agent);
            let is_mended = seen[id(mended)]["ready"] == true && seen.get(id(wrong)).is_none();
            if is_mended && seen[id(0)]["attempt"] == 1 { Ok(()) } else { Err(format!("{seen:#?}")) }
        });
    }
}

fn id(nth: usize) -> String {
    format!("00000000-0000-7000-8000-{nth:012x}")
}

/// Has it run replica 0, and another one of an app with this spec; the number of that one counts the assignments too.
#[track_caller]
fn assign(agent: &Agent, other: usize, spec: Value) {
    let replica = |nth: usize, app: &str| json!({ "id": id(nth), "app": app, "revision": 1, "phase": "run" });
    let assignment = json!({
        "cluster": "00000000-0000-7000-8000-00000000c105", "epoch": 1, "generation": other, "lease_ms": 60_000,
        "specs": { "well@1": { "command": ["worker"] }, "other@1": spec }, "replicas": [replica(0, "well"), replica(other, "other")],
    });
    let answer = Call::new("PUT", "/v1/assignment").body(assignment.to_string()).send(agent.address());
    assert_eq!(answer.status(), 202, "{}", answer.text());
}

/// What the agent says of its replicas, by their ids.
#[track_caller]
fn observed(agent: &Agent) -> Value {
    let snapshot = Lines::open(agent.address(), &Call::get("/v1/observe")).next(PATIENCE);
    let replicas = snapshot["snapshot"]["replicas"].as_array().unwrap();
    replicas.iter().map(|replica| (replica["id"].as_str().unwrap().to_owned(), replica.clone())).collect::<Map<_, _>>().into()
}
