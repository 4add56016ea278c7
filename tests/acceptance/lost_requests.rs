//! What becomes of requests of all methods, at a thousand a second, while replicas come and go: in an orderly way, where not one may
//! fail, and without a warning, where only what was under way may, and says so.
//!
//! The same across hosts is in `namespaces`; connections that a worker ends while they are idle are in `stale_connections`.

use crate::harness::traffic::{CLIENTS, Traffic};
use crate::harness::{Cluster, PATIENCE, Setup, hasty_worker, processes};

/// So many requests before the first event, between two, and after the last.
const BETWEEN: u64 = 300;

/// Four replicas on two agents, and requests on their way.
fn under_load(setup: Setup) -> (Cluster, Traffic) {
    let cluster = setup.start();
    cluster.settle(4);
    let traffic = Traffic::start(cluster.address());
    traffic.wait_more(BETWEEN);
    (cluster, traffic)
}

#[test]
fn no_request_is_lost_while_one_agent_after_the_other_is_stopped_with_ctrl_c_and_every_replica_is_replaced() {
    let (mut cluster, traffic) = under_load(Setup::new());
    let before = cluster.status();
    for nth in 0..2 {
        cluster.agents[nth].program.interrupt();
        assert!(cluster.agents[nth].program.wait_end(PATIENCE).success());
        cluster.wait_settled(4);
        traffic.wait_more(BETWEEN);
        cluster.restart_agent(nth);
        let url = cluster.agents[nth].url();
        cluster.wait_status("the agent that returned", |status| status.node_state(&url) == "ready");
    }
    let after = cluster.wait_settled(4);
    assert!(before.ids().is_disjoint(&after.ids()), "not every replica was replaced: {after:#?}");
    traffic.wait_more(BETWEEN);
    traffic.stop().assert_nothing_lost();
}

#[test]
fn no_request_is_lost_while_an_app_is_scaled_to_1_to_8_and_to_2() {
    let (cluster, traffic) = under_load(Setup::new());
    for count in [1, 8, 2] {
        cluster.settle(count);
        traffic.wait_more(BETWEEN);
    }
    traffic.stop().assert_nothing_lost();
}

#[test]
fn no_request_is_lost_while_an_app_is_scaled_whose_workers_finish_nothing_when_they_are_told_to_stop() {
    let Some(home) = hasty_worker::home("workers that finish nothing", 5) else { return };
    let cluster = Setup::new().start_in(home);
    cluster.settle(4);
    let traffic = Traffic::start(cluster.address());
    for count in [1, 6, 2] {
        traffic.wait_more(BETWEEN);
        cluster.settle(count);
    }
    traffic.wait_more(BETWEEN);
    traffic.stop().assert_nothing_lost();
}

#[test]
fn no_request_is_lost_by_an_agent_of_this_host_that_is_silent_and_returns() {
    let (cluster, traffic) = under_load(Setup::new().lost_after("1s"));
    let (survivor, silent) = (cluster.agents[0].url(), cluster.agents[1].url());
    cluster.agents[1].program.freeze();
    cluster.wait_status("four ready replicas on the survivor", |status| {
        status.node_state(&silent) == "lost" && status.has_settled(4) && status.on(&survivor).count() == 4
    });
    traffic.wait_more(BETWEEN);
    cluster.agents[1].program.thaw();
    cluster.wait_status("the agent that returned", |status| status.node_state(&silent) == "ready" && status.has_settled(4));
    cluster.wait_processes_match();
    traffic.wait_more(BETWEEN);
    traffic.stop().assert_nothing_lost();
}

#[test]
fn the_death_of_one_worker_after_the_other_loses_only_posts_that_it_had() {
    let (cluster, traffic) = under_load(Setup::new());
    for nth in 0..5 {
        let status = cluster.wait_settled(4);
        processes::kill(status.replicas[nth % 4].pid.unwrap());
        traffic.wait_more(BETWEEN);
    }
    cluster.wait_settled(4);
    traffic.stop().assert_only_what_was_under_way_lost(5 * CLIENTS);
}

#[test]
fn the_death_of_all_workers_of_a_node_loses_only_posts_that_they_had() {
    let (cluster, traffic) = under_load(Setup::new());
    for round in 0..3 {
        cluster.wait_settled(4);
        let victims = cluster.pids_on(round % 2);
        assert_eq!(victims.len(), 2);
        victims.into_iter().for_each(processes::kill);
        traffic.wait_more(BETWEEN);
    }
    cluster.wait_settled(4);
    traffic.stop().assert_only_what_was_under_way_lost(3 * CLIENTS);
}

#[test]
fn the_death_of_all_workers_that_there_are_loses_only_posts_that_they_had() {
    let (cluster, traffic) = under_load(Setup::new().agents(1));
    for _ in 0..3 {
        let status = cluster.wait_settled(4);
        status.replicas.iter().for_each(|replica| processes::kill(replica.pid.unwrap()));
        traffic.wait_more(BETWEEN);
    }
    cluster.wait_settled(4);
    traffic.stop().assert_only_what_was_under_way_lost(3 * CLIENTS);
}

#[test]
fn the_death_of_an_agent_loses_only_posts_that_its_workers_had() {
    let (mut cluster, traffic) = under_load(Setup::new());
    for nth in [1, 0] {
        cluster.agents[nth].program.kill();
        cluster.wait_settled(4);
        traffic.wait_more(BETWEEN);
        cluster.restart_agent(nth);
        let url = cluster.agents[nth].url();
        cluster.wait_status("the agent that returned", |status| status.node_state(&url) == "ready");
    }
    traffic.stop().assert_only_what_was_under_way_lost(2 * CLIENTS);
    cluster.wait_processes_match();
}
