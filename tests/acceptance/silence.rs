//! Programs that neither work nor die.

use std::time::Duration;

use crate::harness::wait::throughout;
use crate::harness::{Call, Setup};

#[test]
fn a_frozen_agent_is_replaced_and_has_exactly_its_share_when_it_returns() {
    let cluster = Setup::new().lost_after("1s").start();
    cluster.settle(4);
    cluster.agents[1].program.freeze();
    let (survivor, frozen) = (cluster.agents[0].url(), cluster.agents[1].url());
    let status =
        cluster.wait_status("four ready replicas on the survivor", |status| status.has_settled(4) && status.on(&survivor).count() == 4);
    assert_eq!(status.node_state(&frozen), "lost");
    for _ in 0..8 {
        assert_eq!(cluster.get("/").status(), 200);
    }

    cluster.agents[1].program.thaw();
    cluster.wait_status("the node that returned", |status| status.node_state(&frozen) == "ready" && status.has_settled(4));
    // What it ran all the while is not wanted any more: exactly four processes are left.
    cluster.wait_processes_match();
    assert_eq!(cluster.status().replicas.len(), 4);
}

#[test]
fn a_node_that_is_silent_for_a_moment_keeps_its_replicas() {
    let cluster = Setup::new().lost_after("10s").start();
    let before = cluster.settle(4);
    let frozen = cluster.agents[1].url();
    cluster.agents[1].program.freeze();
    cluster.wait_status("a suspect", |status| status.node_state(&frozen) == "suspect");
    cluster.agents[1].program.thaw();
    cluster.wait_status("its return", |status| status.node_state(&frozen) == "ready");
    assert_eq!(cluster.wait_settled(4).pids(), before.pids());
}

#[test]
fn no_worker_is_restarted_by_a_controller_that_was_frozen() {
    let cluster = Setup::new().lost_after("1s").start();
    let before = cluster.settle(4);
    cluster.controller.program.freeze();
    // Four times as long as it takes to lose a node; the agents answer all the while.
    throughout(Duration::from_secs(4), "health of the agents", || {
        let answer = Call::get("/healthz").try_send(cluster.agents[0].address()).map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.text()) }
    });
    cluster.controller.program.thaw();
    throughout(Duration::from_secs(3), "the processes as they were", || {
        let pids = cluster.status().pids();
        if pids == before.pids() { Ok(()) } else { Err(format!("{pids:?} instead of {:?}", before.pids())) }
    });
    cluster.wait_settled(4);
    cluster.wait_processes_match();
}

#[test]
fn a_controller_that_hears_nobody_restarts_nobody() {
    let cluster = Setup::new().lost_after("1s").start();
    let before = cluster.settle(4);
    for agent in &cluster.agents {
        agent.program.freeze();
    }
    cluster.wait_status("silence everywhere", |status| status.nodes.iter().all(|node| node.state == "suspect" || node.state == "lost"));
    throughout(Duration::from_secs(3), "answers by the last routing table", || {
        let answer = cluster.get("/");
        if answer.status() == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    for agent in &cluster.agents {
        agent.program.thaw();
    }
    let after =
        cluster.wait_status("the return of all", |status| status.nodes.iter().all(|node| node.state == "ready") && status.has_settled(4));
    assert_eq!(after.pids(), before.pids());
    cluster.wait_processes_match();
}
