//! Controllers that come back, with and without their memory.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::harness::{PATIENCE, Setup, processes, wait_until};

#[test]
fn an_emptied_data_directory_stops_nothing() {
    let mut cluster = Setup::new().start();
    let before = cluster.settle(4);
    cluster.controller.program.kill();
    fs::remove_dir_all(&cluster.controller.data_dir).unwrap();
    cluster.restart_controller();
    assert!(cluster.status().nodes.is_empty(), "it knows nobody");
    for agent in &cluster.agents {
        cluster.add_node(&agent.url()).ok();
    }
    let status = cluster.wait_status("nodes of another cluster", |status| status.nodes.iter().all(|node| node.state == "foreign"));
    assert!(status.nodes.iter().all(|node| node.detail.contains("take_over")), "the detail says what to do: {status:#?}");
    cluster.scale(2);
    let status = cluster.wait_status("a reason to wait", |status| !status.worker().waiting.is_empty());
    assert_eq!(status.worker().ready, 0);
    for replica in &before.replicas {
        assert!(processes::is_alive(replica.pid.unwrap()), "{replica:?} was stopped");
    }

    // The operator decides that they are ours.
    for agent in &cluster.agents {
        cluster.post("/add-node", &json!({ "url": agent.url(), "take_over": true })).ok();
    }
    cluster
        .wait_status("nodes that were taken over", |status| status.nodes.iter().all(|node| node.state == "ready") && status.has_settled(2));
    for replica in &before.replicas {
        wait_until(PATIENCE, "end of the other cluster's replicas", || !processes::is_alive(replica.pid.unwrap()));
    }
    cluster.wait_processes_match();
}

#[test]
fn a_data_directory_that_is_emptied_while_the_controller_runs_costs_nothing() {
    let mut cluster = Setup::new().start();
    let before = cluster.settle(4);
    fs::remove_dir_all(&cluster.controller.data_dir).unwrap();
    let answer = cluster.post("/scale", &json!({ "count": 3 }));
    assert_eq!(cluster.get("/").status(), 200);
    // Refused because it cannot be kept, or kept: nothing between.
    let expected = if answer.status() == 200 { 3 } else { 4 };
    let status = cluster.wait_settled(expected);
    assert!(status.ids().is_subset(&before.ids()), "{status:#?}");
    cluster.controller.program.kill();
    cluster.restart_controller();
    if answer.status() == 200 {
        assert_eq!(cluster.wait_settled(3).pids(), status.pids());
    } else {
        answer.problem(503);
    }
    for replica in &status.replicas {
        assert!(processes::is_alive(replica.pid.unwrap()), "{replica:?} was stopped");
    }
}

#[test]
fn what_changed_while_the_controller_was_away_is_put_right() {
    let mut cluster = Setup::new().lost_after("1s").start();
    let before = cluster.settle(4);
    cluster.controller.program.kill();
    cluster.agents[1].program.kill();
    cluster.restart_controller();
    let (survivor, gone) = (cluster.agents[0].url(), cluster.agents[1].url());
    let after = cluster.wait_status("four replicas on the survivor", |status| status.has_settled(4) && status.on(&survivor).count() == 4);
    assert_ne!(after.node_state(&gone), "ready");
    for replica in before.on(&survivor) {
        assert_eq!(after.pids().get(&replica.id), Some(&replica.pid), "what survived was not touched");
    }
}

#[test]
fn an_agent_restarts_its_workers_without_a_controller() {
    let mut cluster = Setup::new().agents(1).start();
    let before = cluster.settle(1);
    cluster.controller.program.kill();
    let replica = &before.replicas[0];
    let pid = i32::try_from(replica.pid.unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    wait_until(PATIENCE, "another process of the replica", || {
        processes::of_replica(cluster.home.path(), &replica.id).iter().any(|seen| seen.pid != replica.pid.unwrap())
    });
    cluster.restart_controller();
    let after = cluster.wait_settled(1);
    assert_eq!((&after.replicas[0].id, after.replicas[0].restarts), (&replica.id, 1));
}

#[test]
fn the_desired_state_is_durable() {
    let mut cluster = Setup::new().start();
    cluster.settle(1);
    // Killed right after its answer, every time.
    for count in [3, 0, 2] {
        cluster.scale(count);
        cluster.controller.program.kill();
        cluster.restart_controller();
        assert_eq!(cluster.status().worker().desired, count as u64);
    }
    cluster.remove_node(&cluster.agents[1].url()).ok();
    cluster.controller.program.kill();
    cluster.restart_controller();
    let removed = cluster.agents[1].url();
    cluster
        .wait_status_within(PATIENCE * 2, "the end of the removed node", |status| status.node(&removed).is_none() && status.has_settled(2));
    wait_until(Duration::from_secs(15), "end of its processes", || processes::children(cluster.agents[1].guardian()).is_empty());
}
