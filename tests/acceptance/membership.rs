//! Nodes that are added, removed, doubled, or are no nodes at all.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use crate::harness::cluster::Agent;
use crate::harness::load::Load;
use crate::harness::{Cluster, PATIENCE, Setup, ports, processes, wait_until};

#[test]
fn adding_a_node_again_changes_nothing() {
    let cluster = Setup::new().start();
    cluster.settle(2);
    let port = cluster.agents[0].port;
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();
    let first = cluster.add_node(&cluster.agents[0].url()).ok().json();
    assert_eq!(first["url"], format!("http://localhost:{port}"));
    assert_eq!(first["state"], "ready");
    for spelling in [format!("http://localhost:{port}"), format!("http://localhost:{port}/"), format!("HTTP://LocalHost:{port}")] {
        assert_eq!(id(&cluster.add_node(&spelling).ok().json()), id(&first), "{spelling}");
    }
    assert_eq!(cluster.status().nodes.len(), 2);
}

#[test]
fn a_node_that_does_not_answer_is_used_when_it_does() {
    let mut cluster = Setup::new().agents(1).start();
    let port = ports::free();
    let url = format!("http://localhost:{port}");
    cluster.add_node(&url).ok();
    let status = cluster.wait_status("an unreachable node", |status| status.node_state(&url) == "unreachable");
    assert!(!status.node(&url).unwrap().detail.is_empty());
    assert_eq!(cluster.settle(2).on(&url).count(), 0);
    cluster.agents.push(Agent::start(&cluster.home, port, &[]));
    cluster.wait_status("the node that answers now", |status| status.node_state(&url) == "ready");
    assert_eq!(cluster.settle(4).on(&url).count(), 2);
}

#[test]
fn what_is_no_agent_is_shown_as_what_it_is() {
    let cluster = Setup::new().agents(1).start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    // It ends with this process: it waits for a connection that may never come.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<h1>Hello</h1>");
        }
    });
    cluster.add_node(&url).ok();
    let status = cluster.wait_status("a node that is none", |status| status.node_state(&url) == "unreachable");
    assert!(status.node(&url).unwrap().detail.len() > 10, "{status:#?}");
    assert_eq!(cluster.settle(2).on(&url).count(), 0);
}

#[test]
fn one_agent_by_two_urls_gets_its_share_once() {
    let cluster = Setup::new().start();
    let second = format!("http://127.0.0.1:{}", cluster.agents[0].port);
    cluster.add_node(&second).ok();
    let status = cluster.wait_status("a duplicate", |status| status.node_state(&second) == "duplicate");
    assert!(status.node(&second).unwrap().detail.contains(&cluster.agents[0].url()), "{status:#?}");
    let status = cluster.settle(4);
    assert_eq!(status.on(&second).count(), 0);
    assert_eq!(status.on(&cluster.agents[0].url()).count(), 2);
    cluster.wait_processes_match();
    // Removing the second touches nothing of the first.
    cluster.remove_node(&second).ok();
    cluster.wait_status("the end of the duplicate", |status| status.node(&second).is_none());
    assert_eq!(cluster.wait_settled(4).pids(), status.pids());
}

#[test]
fn a_node_may_be_named_by_its_ipv6_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let cluster = Setup::new().agents(0).start();
    let agent = Agent::start(&cluster.home, ports::free(), &[]);
    let url = format!("http://[::1]:{}", agent.port);
    cluster.add_node(&url).ok();
    assert_eq!(cluster.settle(2).on(&url).count(), 2);
    assert_eq!(cluster.get("/").status(), 200);
    drop(agent);
}

#[test]
fn two_agents_of_one_name_are_not_both_used() {
    let mut cluster = Setup::new().agents(1).agent_args(&["--name", "web-1"]).start();
    let port = ports::free();
    cluster.agents.push(Agent::start(&cluster.home, port, &["--name".to_owned(), "web-1".to_owned()]));
    let url = cluster.agents[1].url();
    cluster.add_node(&url).ok();
    let status = cluster.wait_status("a duplicate", |status| status.node_state(&url) == "duplicate");
    assert!(status.node(&url).unwrap().detail.contains("web-1"));
    assert_eq!(status.node(&cluster.agents[0].url()).unwrap().name, "web-1");
}

#[test]
fn a_removed_node_is_emptied_and_nobody_notices() {
    let cluster = Setup::new().start();
    cluster.settle(4);
    let load = Load::start(cluster.address(), 8);
    load.wait_more(50);
    let removed = cluster.agents[1].url();
    cluster.remove_node(&removed).ok();
    let status = cluster.wait_status_within(PATIENCE * 2, "four replicas elsewhere and no trace of the node", |status| {
        status.has_settled(4) && status.node(&removed).is_none()
    });
    assert_eq!(status.on(&cluster.agents[0].url()).count(), 4);
    load.wait_more(50);
    load.stop_without_failure();
    let guardian = cluster.agents[1].guardian();
    wait_until(PATIENCE, "end of its processes", || processes::children(guardian).is_empty());
    // Added again it is a node like any other.
    cluster.add_node(&removed).ok();
    cluster.wait_status("the node that was added again", |status| status.node_state(&removed) == "ready");
    assert_eq!(cluster.settle(6).on(&removed).count(), 2);
}

#[test]
fn a_lost_node_that_was_removed_stops_what_it_runs_when_it_returns() {
    let cluster = Setup::new().lost_after("1s").start();
    cluster.settle(4);
    let guardian = cluster.agents[1].guardian();
    let removed = cluster.agents[1].url();
    cluster.agents[1].program.freeze();
    cluster.wait_status("a lost node", |status| status.node_state(&removed) == "lost" && status.has_settled(4));
    cluster.remove_node(&removed).ok();
    let status = cluster.status();
    assert_eq!(status.node_state(&removed), "lost", "it may still run something, and stays to be told: {status:#?}");
    assert_eq!(processes::children(guardian).len(), 2);
    cluster.agents[1].program.thaw();
    cluster.wait_status("its end", |status| status.node(&removed).is_none() && status.has_settled(4));
    wait_until(PATIENCE, "end of its processes", || processes::children(guardian).is_empty());
}

#[test]
fn a_removed_node_whose_process_is_gone_leaves_no_trace() {
    let mut cluster = Setup::new().start();
    cluster.settle(2);
    cluster.agents[1].program.kill();
    let removed = cluster.agents[1].url();
    cluster.wait_status("a lost node", |status| status.node_state(&removed) == "lost");
    cluster.remove_node(&removed).ok();
    cluster.wait_status("its end", |status| status.node(&removed).is_none());
    cluster.wait_settled(2);
}

#[test]
fn what_is_no_member_cannot_be_removed_and_the_controller_is_no_node() {
    let cluster: Cluster = Setup::new().agents(1).start();
    cluster.remove_node("http://localhost:1").problem(404);
    for url in [
        cluster.controller.url(),
        format!("http://127.0.0.1:{}", cluster.controller.port),
        format!("http://[::1]:{}", cluster.controller.port),
    ] {
        cluster.add_node(&url).problem(400);
    }
    assert_eq!(cluster.status().nodes.len(), 1);
}
