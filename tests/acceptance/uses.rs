//! Apps that call other apps, at the address in their environment.
//!
//! The test stands in for the caller: it reads the variable of a replica, and sends what that would send.

use std::fs;
use std::net::SocketAddr;

use crate::harness::cluster::Cluster;
use crate::harness::processes::{self, kill};
use crate::harness::status::{Replica, Status};
use crate::harness::traffic::{CLIENTS, Traffic};
use crate::harness::{Call, Home, PATIENCE, Setup, wait_until};

/// A cluster with the app `front`, which uses `back`; both are the demo payload.
fn cluster(agents: usize) -> Cluster {
    let home = Home::new();
    let source = source(&home);
    let cluster = Setup::new().agents(agents).controller_args(&["--apps", &source]).start_in(home);
    write_apps(&cluster.home);
    cluster.wait_status("both apps ready", |status| are_ready(status, 4));
    cluster
}

/// Makes an app source without apps: they come once all nodes are there, since what is placed is not moved for a node that comes later.
pub fn source(home: &Home) -> String {
    let source = home.path().join("apps");
    fs::create_dir(&source).unwrap();
    format!("dir://{}", source.display())
}

/// Writes the specs.
pub fn write_apps(home: &Home) {
    write_app(home, "front", "replicas = 2\nuses = [\"back\", \"nobody\"]");
    write_app(home, "back", "replicas = 4");
}

/// Writes one spec, which is there as a whole or not at all.
fn write_app(home: &Home, name: &str, rest: &str) {
    let source = home.path().join("apps");
    fs::write(source.join(format!(".{name}.new")), format!("name = \"{name}\"\ncommand = [\"worker\"]\n{rest}\n")).unwrap();
    fs::rename(source.join(format!(".{name}.new")), source.join(format!("{name}.toml"))).unwrap();
}

/// All of `front`, and exactly so many of `back`.
pub fn are_ready(status: &Status, backs: usize) -> bool {
    of(status, "front").count() == 2 && of(status, "back").count() == backs && status.replicas.iter().all(|replica| replica.ready)
}

pub fn of<'a>(status: &'a Status, app: &'a str) -> impl Iterator<Item = &'a Replica> {
    status.replicas.iter().filter(move |replica| replica.app == app)
}

/// The address at which this replica calls an app.
#[track_caller]
pub fn address_of(replica: &Replica, app: &str) -> SocketAddr {
    let name = format!("OSTLER_USES_{}", app.to_uppercase());
    let url = processes::variable(replica.pid.unwrap(), &name).unwrap_or_else(|| panic!("it has no {name}"));
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Where the replicas of `front` call `back`, on each agent.
fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    let status = cluster.status();
    of(&status, "front").map(|replica| address_of(replica, "back")).collect()
}

fn scale_back(cluster: &Cluster, count: usize) {
    cluster.post("/scale", &serde_json::json!({ "app": "back", "count": count })).ok();
    cluster.wait_status("the replicas of back", |status| are_ready(status, count));
}

#[test]
fn an_address_spreads_over_all_replicas_on_all_agents_and_is_loopback() {
    let cluster = cluster(2);
    let addresses = addresses(&cluster);
    assert_ne!(addresses[0], addresses[1], "each agent has its own");
    let status = cluster.status();
    let mut backs: Vec<&str> = of(&status, "back").map(|replica| replica.id.as_str()).collect();
    backs.sort_unstable();
    for address in addresses {
        assert!(address.ip().is_loopback());
        let mut seen: Vec<String> = (0..8).map(|_| Call::get("/").send(address).ok().worker()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, backs);
        // Every path is the app's.
        assert!(!Call::get("/status").send(address).text().contains("\"nodes\""));
    }
    let listed = cluster.get("/v1/apps/back/endpoints").ok().json();
    let mut listed: Vec<&str> = listed["endpoints"].as_array().unwrap().iter().map(|one| one["replica"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, backs);
    assert_eq!(cluster.get("/v1/apps/nobody/endpoints").status(), 404);
}

#[test]
fn an_app_that_does_not_exist_is_told_and_served_once_it_does() {
    let cluster = cluster(1);
    let status = cluster.status();
    let address = address_of(of(&status, "front").next().unwrap(), "nobody");
    let answer = Call::get("/").send(address);
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("no app nobody"), "{}", answer.text());
    write_app(&cluster.home, "nobody", "replicas = 1");
    wait_until(PATIENCE, "an answer of the app that came", || Call::get("/").send(address).status() == 200);
}

#[test]
fn nothing_is_lost_while_the_callee_is_scaled_up_and_down() {
    let cluster = cluster(2);
    let traffic = Traffic::start(addresses(&cluster)[0]);
    for count in [1, 5, 2, 4] {
        traffic.wait_more(200);
        scale_back(&cluster, count);
    }
    traffic.wait_more(200);
    traffic.stop().assert_nothing_lost();
}

#[test]
fn killed_processes_of_the_callee_lose_no_get() {
    let cluster = cluster(2);
    let traffic = Traffic::start(addresses(&cluster)[0]);
    traffic.wait_more(200);
    for nth in 0..3 {
        let status = cluster.wait_status("all of back", |status| are_ready(status, 4));
        kill(of(&status, "back").nth(nth).unwrap().pid.unwrap());
        traffic.wait_more(300);
    }
    traffic.stop().assert_only_what_was_under_way_lost(3 * CLIENTS);
}

#[test]
fn an_address_works_on_without_a_controller_and_after_its_return() {
    let mut cluster = cluster(2);
    let traffic = Traffic::start(addresses(&cluster)[0]);
    cluster.controller.program.kill();
    traffic.wait_more(300);
    cluster.restart_controller();
    cluster.wait_status("both apps ready", |status| are_ready(status, 4));
    scale_back(&cluster, 2);
    traffic.wait_more(300);
    traffic.stop().assert_nothing_lost();
}
