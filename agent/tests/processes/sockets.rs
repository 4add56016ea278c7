//! Sockets that are handed over, and ports that somebody else takes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, new_id, this_program};
use crate::proc::{signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("sockets::one_replica_is_replaced_and_nobody_refused", one_replica_is_replaced_and_nobody_refused),
    ("sockets::a_crash_refuses_nobody", a_crash_refuses_nobody),
    ("sockets::a_socket_outlives_agents_and_programs", a_socket_outlives_agents_and_programs),
    ("sockets::two_replicas_have_two_sockets", two_replicas_have_two_sockets),
    ("sockets::a_port_that_was_taken", a_port_that_was_taken),
];

fn spec() -> Value {
    json!({ "command": [this_program(), "replica", "handed"], "socket": "pass", "grace_ms": 400, "restart": { "first_ms": 300, "max_ms": 300 } })
}

/// One connection after the other, until it is stopped: the pids that answered, and how many connections there were.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(BTreeSet<String>, usize)>,
}

impl Load {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut pids, mut count) = (BTreeSet::new(), 0);
            while !is_over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("no connection is refused");
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut pid = String::new();
                // One that a process had accepted when it was killed is broken, not refused.
                let _ = stream.read_to_string(&mut pid);
                pids.extend((!pid.is_empty()).then_some(pid));
                count += 1;
            }
            (pids, count)
        });
        Load { stop, thread }
    }

    fn end(self) -> (BTreeSet<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Waits until this process answers.
fn wait_answer(port: u16, pid: u32) {
    wait_for("it answers", Duration::from_secs(20), || {
        let mut answer = String::new();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().read_to_string(&mut answer).ok()?;
        (answer.trim() == pid.to_string()).then_some(())
    });
}

fn port_of(replica: &Value) -> u16 {
    u16::try_from(replica["port"].as_u64().unwrap()).unwrap()
}

fn one_replica_is_replaced_and_nobody_refused() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let mut old = agent.assign_spec(spec());
    agent.wait_ready(1);
    let port = port_of(&agent.replica(&old).unwrap());
    let load = Load::start(port);
    for first in ["stop", "drain", "stop"] {
        let new = new_id();
        agent.ids.push(new.clone());
        // The new one comes first in the list: the order means nothing.
        let replicas = json!([
            { "id": new, "app": "app0", "revision": 1, "phase": "run" },
            { "id": old, "app": "app0", "revision": 1, "phase": first },
        ]);
        agent.put(json!({ "specs": { "app0@1": spec() }, "replicas": replicas }));
        agent.wait("the new one is ready", |replicas| {
            replicas.iter().find(|replica| replica["id"] == *new && replica["ready"] == true).map(|_| ())
        });
        let report = agent.replica(&new).unwrap();
        assert_eq!(port_of(&report), port);
        wait_answer(port, u32::try_from(report["pid"].as_u64().unwrap()).unwrap());
        agent.put(json!({ "specs": { "app0@1": spec() }, "replicas": [{ "id": new, "app": "app0", "revision": 1, "phase": "run" }] }));
        agent.wait("the old one is gone", |replicas| (replicas.len() == 1).then_some(()));
        old = new;
    }
    // One that is gone already.
    agent.put(json!({}));
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    let last = agent.assign_spec(spec());
    agent.wait_ready(1);
    assert_eq!(port_of(&agent.replica(&last).unwrap()), port);
    wait_answer(port, agent.wait_ready(1)[0]);
    let (pids, count) = load.end();
    println!("  {count} connections, {} processes", pids.len());
    assert!(!pids.is_empty() && count > 0, "{pids:?} {count}");
}

fn a_crash_refuses_nobody() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = agent.assign_spec(spec());
    let pid = agent.wait_ready(1)[0];
    let port = port_of(&agent.replica(&id).unwrap());
    let load = Load::start(port);
    signal(pid, Signal::KILL);
    agent.wait("it runs again", |replicas| (replicas[0]["attempt"] == 2 && replicas[0]["ready"] == true).then_some(()));
    assert_eq!(port_of(&agent.replica(&id).unwrap()), port);
    wait_answer(port, agent.wait_ready(1)[0]);
    load.end();
}

fn a_socket_outlives_agents_and_programs() {
    let home = Home::new();
    let mut agent = Agent::keep(&home);
    let old = agent.assign_spec(spec());
    let pid = agent.wait_ready(1)[0];
    let port = port_of(&agent.replica(&old).unwrap());
    let load = Load::start(port);
    let program = home.path().join("processes-2");
    fs::copy(this_program(), &program).unwrap();
    for is_upgrade in [false, true] {
        signal(agent.pid(), Signal::KILL);
        agent.child.wait().unwrap();
        agent = if is_upgrade { agent.next_program(&home, &program) } else { agent.next(&home, |_| {}) };
        assert_eq!((agent.wait_ready(1)[0], port_of(&agent.replica(&old).unwrap())), (pid, port));
    }
    // A guardian that became another program has it still: for the next attempt, and for the replica after that.
    signal(pid, Signal::KILL);
    agent.wait("it runs again", |replicas| (replicas[0]["attempt"] == 2 && replicas[0]["ready"] == true).then_some(()));
    assert_eq!(port_of(&agent.replica(&old).unwrap()), port);
    let new = new_id();
    agent.ids.push(new.clone());
    agent.put(json!({ "specs": { "app0@1": spec() }, "replicas": [{ "id": new, "app": "app0", "revision": 1, "phase": "run" }] }));
    agent.wait("one took over from the other", |replicas| {
        (replicas.len() == 1 && replicas[0]["id"] == *new && replicas[0]["ready"] == true).then_some(())
    });
    assert_eq!(port_of(&agent.replica(&new).unwrap()), port);
    wait_answer(port, agent.wait_ready(1)[0]);
    load.end();
    agent.put(json!({}));
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    agent.is_kept = false;
    signal(agent.pid(), Signal::INT);
    assert_eq!(agent.wait_end(), Some(0), "{}", home.log());
}

fn two_replicas_have_two_sockets() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let ids = [new_id(), new_id()];
    agent.ids.extend(ids.clone());
    let replicas: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "app": "app0", "revision": 1, "phase": "run" })).collect();
    agent.put(json!({ "specs": { "app0@1": spec() }, "replicas": replicas }));
    agent.wait_ready(2);
    let ports: BTreeSet<u16> = ids.iter().map(|id| port_of(&agent.replica(id).unwrap())).collect();
    assert_eq!(ports.len(), 2);
}

fn a_port_that_was_taken() {
    let home = Home::new();
    let (port_file, go) = (home.path().join("port"), home.path().join("go"));
    let mut agent = Agent::start(&home);
    let spec = json!({ "command": [this_program(), "replica", "late", port_file, go], "grace_ms": 400,
        "restart": { "first_ms": 20, "max_ms": 20 } });
    let id = agent.assign_spec(spec);
    let taken: u16 = wait_for("its port is known", Duration::from_secs(20), || fs::read_to_string(&port_file).ok()?.parse().ok());
    // Beside the reservation, as its program would.
    let _intruder = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
    fs::write(&go, "").unwrap();
    agent.wait("its second attempt is ready", |replicas| (replicas[0]["attempt"] == 2 && replicas[0]["ready"] == true).then_some(()));
    assert_ne!(port_of(&agent.replica(&id).unwrap()), taken);
}
