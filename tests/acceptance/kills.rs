//! `kill -9` of everything, one after the other.

use rustix::process::Signal;

use crate::harness::http::raw;
use crate::harness::load::Load;
use crate::harness::processes::{self, kill, signal};
use crate::harness::{Call, PATIENCE, Setup, wait_until};

#[test]
fn a_worker_is_started_again_in_its_place() {
    let cluster = Setup::new().start();
    let before = cluster.settle(4);
    let victim = &before.replicas[2];
    kill(victim.pid.unwrap());
    let after = cluster.wait_status("another process of that replica", |status| {
        status.replicas.iter().any(|replica| replica.id == victim.id && replica.ready && replica.pid != victim.pid)
    });
    let after = after.replicas.iter().find(|replica| replica.id == victim.id).unwrap();
    assert_eq!((after.restarts, &after.node), (1, &victim.node));
    let others = cluster.wait_settled(4).pids();
    for replica in before.replicas.iter().filter(|replica| replica.id != victim.id) {
        assert_eq!(others[&replica.id], replica.pid, "no other replica was touched");
    }
    cluster.wait_processes_match();
}

#[test]
fn a_worker_that_crashes_by_itself_is_started_again() {
    let cluster = Setup::new().start();
    let before = cluster.settle(2);
    let answer = Call::post("/crash?code=3", "").try_send(cluster.address());
    assert!(!answer.is_ok_and(|answer| answer.status() < 500), "the request that ended it cannot have been answered well");
    let after = cluster.wait_status("a replica with one restart", |status| {
        status.has_settled(2) && status.replicas.iter().filter(|replica| replica.restarts == 1).count() == 1
    });
    assert_eq!(after.ids(), before.ids());
    assert_eq!(cluster.get("/").status(), 200);
}

#[test]
fn the_replicas_of_a_killed_agent_end_and_are_replaced() {
    let mut cluster = Setup::new().start();
    cluster.settle(4);
    let victims = cluster.pids_on(1);
    assert_eq!(victims.len(), 2);
    cluster.agents[1].program.kill();
    for pid in victims {
        wait_until(PATIENCE, "end of the replicas of the killed agent", || !processes::is_alive(pid));
    }
    let survivor = cluster.agents[0].url();
    let status = cluster.wait_status("four replicas on the survivor", |status| status.has_settled(4) && status.on(&survivor).count() == 4);
    assert_eq!(status.node_state(&cluster.agents[1].url()), "lost");
    assert!(!status.node(&cluster.agents[1].url()).unwrap().detail.is_empty());
    cluster.wait_processes_match();

    // It returns, and gets what is new.
    cluster.restart_agent(1);
    let returned = cluster.agents[1].url();
    cluster.wait_status("the node that returned", |status| status.node_state(&returned) == "ready");
    let status = cluster.settle(6);
    assert_eq!(status.on(&returned).count(), 2);
}

#[test]
fn an_agent_that_is_back_at_once_is_another_one() {
    let mut cluster = Setup::new().start();
    let before = cluster.settle(4);
    let victims = cluster.pids_on(1);
    cluster.agents[1].program.kill();
    // Before anybody can have told that it was away.
    cluster.restart_agent(1);
    cluster.wait_status("four ready replicas, none of them of the killed agent", |status| {
        status.has_settled(4) && status.replicas.iter().all(|replica| !victims.contains(&replica.pid.unwrap_or_default()))
    });
    let returned = cluster.agents[1].url();
    let after = cluster.wait_status("the node that returned", |status| status.node_state(&returned) == "ready" && status.has_settled(4));
    for replica in before.on(&cluster.agents[0].url()) {
        assert_eq!(after.pids().get(&replica.id), Some(&replica.pid), "the other node was not touched");
    }
    cluster.wait_processes_match();
}

#[test]
fn the_replicas_of_a_killed_agent_that_keeps_them_run_on_and_no_request_is_lost() {
    let mut cluster = Setup::new().agent_args(&["--keep-workers"]).start();
    let before = cluster.settle(4);
    let load = Load::start(cluster.address(), 4);
    load.wait_more(50);
    for nth in [0, 1] {
        cluster.agents[nth].program.kill();
        cluster.restart_agent(nth);
        let url = cluster.agents[nth].url();
        let after = cluster.wait_status("the node is back", |status| status.node_state(&url) == "ready" && status.has_settled(4));
        assert_eq!(after.pids(), before.pids());
        assert!(after.replicas.iter().all(|replica| replica.restarts == 0));
        load.wait_more(50);
    }
    load.stop_without_failure();
    cluster.wait_processes_match();
    for agent in &mut cluster.agents {
        agent.program.interrupt();
        agent.program.wait_end(PATIENCE);
    }
}

#[test]
fn the_replicas_of_a_killed_guardian_end_and_start_again() {
    let cluster = Setup::new().start();
    let before = cluster.settle(4);
    let victims = cluster.pids_on(1);
    kill(cluster.agents[1].guardian());
    for pid in &victims {
        wait_until(PATIENCE, "end of the replicas of the killed guardian", || !processes::is_alive(*pid));
    }
    let after = cluster.wait_status("four ready replicas, none of them of the killed guardian", |status| {
        status.has_settled(4) && status.replicas.iter().all(|replica| !victims.contains(&replica.pid.unwrap_or_default()))
    });
    for replica in before.on(&cluster.agents[0].url()) {
        assert_eq!(after.pids().get(&replica.id), Some(&replica.pid), "the other node was not touched");
    }
    cluster.wait_processes_match();
}

#[test]
fn nothing_outlives_an_agent_and_a_guardian_that_die_at_once() {
    let mut cluster = Setup::new().start();
    cluster.settle(4);
    let victims = cluster.pids_on(1);
    let guardian = cluster.agents[1].guardian();
    // Frozen first, so that neither can do a thing about the death of the other.
    cluster.agents[1].program.freeze();
    signal(guardian, Signal::STOP);
    kill(guardian);
    cluster.agents[1].program.kill();
    let survivor = cluster.agents[0].url();
    cluster.wait_status("four replicas on the survivor", |status| status.has_settled(4) && status.on(&survivor).count() == 4);
    // The next agent on that runtime directory ends what may be left.
    cluster.restart_agent(1);
    for pid in victims {
        wait_until(PATIENCE, "end of the replicas of both", || !processes::is_alive(pid));
    }
    cluster.wait_processes_match();
}

#[test]
fn a_killed_controller_returns_and_finds_everything_as_it_was() {
    let mut cluster = Setup::new().start();
    let before = cluster.settle(4);
    cluster.controller.program.kill();
    for replica in &before.replicas {
        assert!(processes::is_alive(replica.pid.unwrap()), "losing the controller touches no worker");
    }
    cluster.restart_controller();
    let after = cluster.wait_settled(4);
    assert_eq!(after.pids(), before.pids());
    let nodes =
        |status: &crate::harness::status::Status| status.nodes.iter().map(|node| (node.id.clone(), node.url.clone())).collect::<Vec<_>>();
    assert_eq!(nodes(&after), nodes(&before));
    assert_eq!(cluster.get("/").status(), 200);
    assert!(after.replicas.iter().all(|replica| replica.restarts == 0));
}

#[test]
fn a_frozen_guardian_is_ended_and_replaced() {
    let cluster = Setup::new().agents(1).start();
    cluster.settle(2);
    let victims = cluster.pids_on(0);
    let guardian = cluster.agents[0].guardian();
    signal(guardian, Signal::STOP);
    wait_until(PATIENCE, "end of the guardian that does not answer", || !processes::is_alive(guardian));
    cluster.wait_status("two ready replicas of another guardian", |status| {
        status.has_settled(2) && status.replicas.iter().all(|replica| !victims.contains(&replica.pid.unwrap_or_default()))
    });
    cluster.wait_processes_match();
}

#[test]
fn no_get_is_lost_by_the_death_of_whoever_had_it() {
    let mut cluster = Setup::new().start();
    cluster.settle(4);
    let load = Load::start(cluster.address(), 8);
    load.wait_more(50);
    for nth in 0..4 {
        let status = cluster.wait_settled(4);
        kill(status.replicas[nth].pid.unwrap());
        load.wait_more(50);
    }
    cluster.wait_settled(4);
    kill(cluster.agents[1].guardian());
    load.wait_more(50);
    cluster.wait_settled(4);
    cluster.agents[1].program.kill();
    load.wait_more(50);
    load.stop_without_failure();
}

#[test]
fn a_post_is_not_sent_twice() {
    let cluster = Setup::new().start();
    let before = cluster.settle(2);
    let address = cluster.address();
    // Its first bytes are back, so it is under way; which of the two has it is told by which answers the others.
    let mut wire = raw(address, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello", PATIENCE).unwrap();
    let mut framing = wire.head().unwrap().framing("POST");
    assert_eq!(wire.piece(&mut framing).unwrap().as_deref(), Some(&b"hello"[..]));
    for replica in &before.replicas {
        kill(replica.pid.unwrap());
    }
    assert!(wire.piece(&mut framing).is_err(), "what was cut is not ended as if it were whole");
    // One that got no byte back is refused, not repeated: the replica is there again at once, and would have answered.
    cluster.wait_status("both again", |status| status.has_settled(2) && status.replicas.iter().all(|replica| replica.restarts == 1));
    let request = std::thread::spawn(move || Call::post("/?delay_ms=5000", "x").within(PATIENCE).try_send(address));
    wait_until(PATIENCE, "a connection to a replica", || {
        cluster.status().replicas.iter().any(|replica| has_connection(replica.port.unwrap()))
    });
    for replica in cluster.status().replicas {
        kill(replica.pid.unwrap());
    }
    let answer = request.join().unwrap();
    assert!(!answer.as_ref().is_ok_and(|answer| answer.status() < 500), "{answer:?}");
    cluster.wait_settled(2);
}

/// Somebody is connected to this port of the loopback address.
fn has_connection(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // `local remote state`: 01 is ESTABLISHED.
    let end = format!("0100007F:{port:04X}");
    table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1).zip(line.split_whitespace().nth(3)))
        .any(|(local, state)| local == end && state == "01")
}
