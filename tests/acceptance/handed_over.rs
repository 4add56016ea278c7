//! Sockets that an agent hands over: one replica on one host is replaced, and no request is lost or refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::cluster::Agent;
use crate::harness::lines::Lines;
use crate::harness::{Call, Home, PATIENCE, needs, ports, python, wait_for, wait_until};

const CLUSTER: &str = "0199b1c2-0000-7000-8000-000000000002";
const ROUNDS: usize = 6;
/// So many callers at a time, each with a new connection for each request.
const CALLERS: usize = 4;

fn id(nth: usize) -> String {
    format!("0199b1c2-0000-7000-8000-0000000001{nth:02}")
}

fn put(agent: &Agent, generation: usize, spec: &Value, replicas: &[(usize, &str)]) {
    let replicas: Vec<Value> =
        replicas.iter().map(|(nth, phase)| json!({ "id": id(*nth), "app": "web", "revision": 1, "phase": phase })).collect();
    let assignment = json!({
        "cluster": CLUSTER, "epoch": 1, "generation": generation, "requires": ["socket"], "lease_ms": 60_000,
        "specs": { "web@1": spec }, "replicas": replicas,
    });
    let answer = Call::new("PUT", "/v1/assignment").body(assignment.to_string()).send(agent.address());
    assert_eq!(answer.status(), 202, "{}", answer.text());
}

/// Waits until this replica is ready and no other is there, and tells its port.
#[track_caller]
fn wait_alone(agent: &Agent, nth: usize) -> u16 {
    wait_for(PATIENCE, "one replica that is ready", || {
        let snapshot = Lines::open(agent.address(), &Call::get("/v1/observe")).next(PATIENCE);
        match snapshot["snapshot"]["replicas"].as_array().unwrap().as_slice() {
            [only] if only["id"] == id(nth) && only["ready"] == true => Ok(u16::try_from(only["port"].as_u64().unwrap()).unwrap()),
            others => Err(format!("{others:#?}\n{}", agent.program.log())),
        }
    })
}

/// One request on a connection of its own: status and body.
#[track_caller]
fn call_once(address: SocketAddr) -> (u16, String) {
    let answer = Call::get("/").header("connection", "close").try_send(address).expect("every request is answered");
    (answer.status(), answer.text())
}

/// Replaces the one replica of this spec again and again while it is called.
#[track_caller]
fn replace_under_load(home: &Home, spec: &Value) {
    let agent = Agent::start(home, ports::free(), &[]);
    put(&agent, 1, spec, &[(0, "run")]);
    let port = wait_alone(&agent, 0);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let is_over = AtomicBool::new(false);
    let (count, workers) = std::thread::scope(|scope| {
        let call = || {
            let (mut count, mut workers) = (0, BTreeSet::new());
            while !is_over.load(Ordering::Relaxed) {
                let (status, text) = call_once(address);
                assert_eq!(status, 200);
                workers.insert(text);
                count += 1;
            }
            (count, workers)
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let replaced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for nth in 1..=ROUNDS {
                put(&agent, nth + 1, spec, &[(nth - 1, "stop"), (nth, "run")]);
                assert_eq!(wait_alone(&agent, nth), port);
                wait_until(PATIENCE, "an answer of the new replica", || call_once(address).1.contains(&id(nth)));
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        let (mut count, mut ids) = (0, BTreeSet::new());
        for caller in callers {
            let (of_one, workers) = caller.join().unwrap();
            count += of_one;
            ids.extend(workers.into_iter().filter_map(|text: String| text.split(&[':', '.'][..]).nth(1).map(|id| id.trim().to_owned())));
        }
        replaced.unwrap();
        (count, ids)
    });
    println!("{count} requests to {} replicas, none refused", workers.len());
    assert!(workers.len() >= ROUNDS, "{count} requests, {workers:?}");
    put(&agent, ROUNDS + 2, spec, &[]);
}

#[test]
fn a_worker_is_replaced_under_load_and_no_request_is_lost() {
    replace_under_load(&Home::new(), &json!({ "command": ["worker"], "socket": "pass", "grace_ms": 5_000 }));
}

#[test]
fn a_program_in_another_language_is_replaced_under_load_and_no_request_is_lost() {
    let python = python::with("socket");
    if !needs::is_there("a handed-over socket in Python", "python3", python.is_some()) {
        return;
    }
    let home = Home::new();
    home.script("web", &format!("#!{}\n{}", python.unwrap().display(), include_str!("foreign/handed_over_worker.py")));
    replace_under_load(&home, &json!({ "command": ["web"], "socket": "pass", "grace_ms": 5_000 }));
}
