//! Agents that are told to end: nobody who sends requests notices.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::http::raw;
use crate::harness::load::Load;
use crate::harness::{PATIENCE, Setup, processes, wait_for};

#[test]
fn no_request_fails_when_an_agent_is_stopped_with_ctrl_c() {
    let mut cluster = Setup::new().start();
    cluster.settle(4);
    let load = Load::start(cluster.address(), 8);
    load.wait_more(50);

    cluster.agents[1].program.interrupt();
    let survivor = cluster.agents[0].url();
    cluster.wait_status("four ready replicas on the survivor", |status| status.on(&survivor).filter(|replica| replica.ready).count() == 4);
    assert!(cluster.agents[1].program.wait_end(PATIENCE).success());

    load.wait_more(50);
    load.stop_without_failure();
    let left = cluster.agents[1].url();
    cluster.wait_status("a node that has left", |status| status.node_state(&left) == "left");
    cluster.wait_settled(4);
    cluster.wait_processes_match();
}

#[test]
fn an_agent_leaves_nothing_but_logs_in_its_runtime_directory() {
    let mut cluster = Setup::new().start();
    cluster.settle(4);
    cluster.agents[1].program.signal(Signal::TERM);
    assert!(cluster.agents[1].program.wait_end(PATIENCE).success());
    let left: Vec<_> = std::fs::read_dir(&cluster.agents[1].runtime_dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("logs")).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_last_agent_stops_although_nobody_can_take_its_replicas() {
    let mut cluster = Setup::new().agents(1).start();
    cluster.settle(2);
    cluster.agents[0].program.interrupt();
    assert!(cluster.agents[0].program.wait_end(PATIENCE).success());
    let status = cluster.wait_status("an empty cluster", |status| status.replicas.is_empty());
    assert!(!status.worker().waiting.is_empty(), "nothing says why nothing runs: {status:#?}");
}

#[test]
fn an_agent_that_no_controller_hears_stops_at_once() {
    let mut cluster = Setup::new().agents(1).start();
    cluster.settle(2);
    cluster.controller.program.kill();
    cluster.agents[0].program.interrupt();
    assert!(cluster.agents[0].program.wait_end(Duration::from_secs(10)).success());
    cluster.home.wait_empty(PATIENCE);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_requests() {
    let mut cluster = Setup::new().agents(1).start();
    cluster.settle(1);
    // A request that never ends: its body does not come, and the first of it is back already, so the only replica is at work.
    let request = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhello";
    let mut wire = raw(cluster.address(), request, PATIENCE * 3).unwrap();
    let mut framing = wire.head().unwrap().framing("POST");
    assert_eq!(wire.piece(&mut framing).unwrap().as_deref(), Some(&b"hello"[..]));

    cluster.agents[0].program.interrupt();
    cluster.wait_status("an agent that is leaving", |status| status.nodes[0].state == "draining");
    cluster.agents[0].program.interrupt();
    cluster.agents[0].program.wait_end(Duration::from_secs(8));
    // What was cut is not ended as if it were whole.
    let rest = wire.piece(&mut framing);
    assert!(rest.is_err(), "{rest:?}");
}

#[test]
fn controller_and_agents_end_with_0() {
    let mut cluster = Setup::new().start();
    let status = cluster.settle(3);
    cluster.controller.program.interrupt();
    assert!(cluster.controller.program.wait_end(PATIENCE).success());
    for replica in &status.replicas {
        assert!(processes::is_alive(replica.pid.unwrap()), "a controller that stops touches no worker");
    }
    for agent in &mut cluster.agents {
        agent.program.interrupt();
        assert!(agent.program.wait_end(PATIENCE).success());
    }
    wait_for(PATIENCE, "end of the replicas", || {
        let left = cluster.replica_processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
