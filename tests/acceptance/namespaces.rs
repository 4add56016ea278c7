//! Agents on other hosts: network namespaces stand in for them, each with an address of its own.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::cluster::Controller;
use crate::harness::load::Load;
use crate::harness::status::Status;
use crate::harness::traffic::{CLIENTS, Traffic};
use crate::harness::{Call, Home, PATIENCE, Program, needs, ports, wait_for, wait_until};
use crate::uses;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A controller's namespace, and one for each agent with a link to it.
struct Net {
    tag: String,
    agents: usize,
}

impl Net {
    /// `None` where namespaces cannot be made, which was said.
    fn lay(test: &str, agents: usize) -> Option<Self> {
        let tag = format!("ostler-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let may = needs::is_root() && needs::program("ip").is_some() && ip(&["netns", "add", &format!("{tag}-c")]).is_ok();
        if !needs::is_there(test, "root, the program ip, and leave to make network namespaces", may) {
            return None;
        }
        let net = Net { tag, agents };
        net.ip(&["-n", &net.name("c"), "link", "set", "lo", "up"]);
        for nth in 0..agents {
            let (here, there) = (net.name("c"), net.name(&nth.to_string()));
            let (near, far) = (format!("near{nth}"), format!("far{nth}"));
            net.ip(&["netns", "add", &there]);
            net.ip(&["-n", &there, "link", "set", "lo", "up"]);
            net.ip(&["-n", &here, "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &there]);
            net.ip(&["-n", &here, "addr", "add", &format!("10.77.{nth}.1/30"), "dev", &near]);
            net.ip(&["-n", &there, "addr", "add", &format!("10.77.{nth}.2/30"), "dev", &far]);
            net.ip(&["-n", &here, "link", "set", &near, "up"]);
            net.ip(&["-n", &there, "link", "set", &far, "up"]);
        }
        Some(net)
    }

    /// Lets the agents' hosts reach each other, over the controller's.
    fn join(&self) {
        self.ip(&["netns", "exec", &self.name("c"), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
        for nth in 0..self.agents {
            self.ip(&["-n", &self.name(&nth.to_string()), "route", "add", "default", "via", &format!("10.77.{nth}.1")]);
        }
    }

    fn name(&self, which: &str) -> String {
        format!("{}-{which}", self.tag)
    }

    #[track_caller]
    fn ip(&self, args: &[&str]) {
        ip(args).unwrap_or_else(|error| panic!("ip {args:?}: {error}"));
    }

    /// This thread, and what it starts, is in that namespace from here on.
    fn enter(&self, which: &str) {
        let file = File::open(format!("/run/netns/{}", self.name(which))).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Cuts the cable to an agent, or mends it.
    fn cable(&self, nth: usize, state: &str) {
        self.ip(&["-n", &self.name("c"), "link", "set", &format!("near{nth}"), state]);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for which in (0..self.agents).map(|nth| nth.to_string()).chain(["c".to_owned()]) {
            let _ = ip(&["netns", "del", &self.name(&which)]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Hosts with an agent each. Programs come first, so that they end before the namespaces do.
struct Hosts {
    controller: Controller,
    agents: Vec<Program>,
    home: Home,
    net: Net,
}

impl Hosts {
    fn start(net: Net) -> Self {
        Self::start_with(net, |_| vec![])
    }

    /// `args`: what the controller is told besides.
    fn start_with(net: Net, args: impl FnOnce(&Home) -> Vec<String>) -> Self {
        let home = Home::new();
        // On every host the same port.
        let port = ports::free();
        let agents = (0..net.agents)
            .map(|nth| {
                net.enter(&nth.to_string());
                let mut command = home.command(&home.cwd().join("agent").to_string_lossy());
                command.args([
                    "--listen",
                    &format!("10.77.{nth}.2:{port}"),
                    "--insecure",
                    "--name",
                    &format!("host-{nth}"),
                    "--runtime-dir",
                ]);
                Program::start(&home, &format!("agent-{nth}"), command.arg(home.path().join(format!("agent-{nth}"))))
            })
            .collect();
        net.enter("c");
        let args = [vec!["--lost-after".to_owned(), "2s".to_owned()], args(&home)].concat();
        let controller = Controller::start(&home, ports::free(), &args);
        let hosts = Hosts { controller, agents, home, net };
        for nth in 0..hosts.agents.len() {
            hosts.post("/add-node", &format!("{{\"url\":\"http://10.77.{nth}.2:{port}\"}}"));
        }
        hosts.wait("nodes that are ready", |status| {
            status.nodes.len() == hosts.agents.len() && status.nodes.iter().all(|node| node.state == "ready")
        });
        hosts
    }

    #[track_caller]
    fn post(&self, target: &str, body: &str) {
        Call::post(target, body).send(self.controller.address()).ok();
    }

    #[track_caller]
    fn wait(&self, what: &str, mut fits: impl FnMut(&Status) -> bool) -> Status {
        wait_for(PATIENCE * 2, what, || {
            let answer = Call::get("/status").send(self.controller.address()).ok();
            let status: Status = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            if fits(&status) { Ok(status) } else { Err(format!("{status:#?}")) }
        })
    }

    fn state_of(status: &Status, nth: usize) -> &str {
        status.nodes.iter().find(|node| node.name == format!("host-{nth}")).map_or("absent", |node| &node.state)
    }
}

#[test]
fn the_scenarios_hold_across_hosts() {
    let Some(net) = Net::lay("the scenarios across hosts", 2) else { return };
    let mut hosts = Hosts::start(net);
    let address = hosts.controller.address();
    assert!(hosts.agents[0].log().contains("WARN"), "--insecure is said in the log: {}", hosts.agents[0].log());

    hosts.post("/scale", r#"{"count": 4}"#);
    let status =
        hosts.wait("four replicas, two on each host", |status| status.has_settled(4) && status.nodes.iter().all(|node| node.replicas == 2));
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..40 {
        *counts.entry(Call::get("/").send(address).ok().worker()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().collect::<Vec<_>>(), [&10; 4], "{counts:?}");
    // The workers' own ports are on their hosts' loopback: only the tunnel leads there.
    for replica in &status.replicas {
        for host in 0..2 {
            let address = format!("10.77.{host}.2:{}", replica.port.unwrap()).parse().unwrap();
            assert!(Call::get("/").try_send(address).is_err(), "{replica:?} can be reached from outside");
        }
    }
    let body = vec![b'x'; 2_000_000];
    assert!(Call::post("/echo", body.clone()).send(address).ok().body == body);

    hosts.post("/scale", r#"{"count": 2}"#);
    hosts.wait("two replicas", |status| status.has_settled(2));

    let load = Load::start(address, 4);
    load.wait_more(20);
    hosts.agents[1].interrupt();
    hosts.wait("both on the survivor", |status| status.has_settled(2) && Hosts::state_of(status, 1) == "left");
    assert!(hosts.agents[1].wait_end(PATIENCE).success());
    load.wait_more(20);
    load.stop_without_failure();
}

#[test]
fn a_host_that_is_cut_off_is_replaced_and_has_its_share_when_it_returns() {
    let Some(net) = Net::lay("a host that is cut off", 2) else { return };
    let hosts = Hosts::start(net);
    let address = hosts.controller.address();
    hosts.post("/scale", r#"{"count": 4}"#);
    hosts.wait("four replicas", |status| status.has_settled(4));

    // No RST, no FIN: silence.
    hosts.net.cable(1, "down");
    hosts.wait("four replicas on the other host", |status| {
        status.has_settled(4)
            && Hosts::state_of(status, 1) == "lost"
            && status.replicas.iter().all(|replica| !replica.node.contains("10.77.1."))
    });
    for _ in 0..8 {
        Call::get("/").send(address).ok().worker();
    }
    hosts.net.cable(1, "up");
    hosts.wait("the host that returned, with nothing of before", |status| status.has_settled(4) && Hosts::state_of(status, 1) == "ready");
    wait_until(PATIENCE, "four processes", || {
        let processes = crate::harness::processes::below(hosts.home.path());
        let is_replica = |pid: u32| crate::harness::processes::variable(pid, "OSTLER_REPLICA_ID").is_some();
        processes.iter().filter(|seen| is_replica(seen.pid)).count() == 4
    });
}

#[test]
fn no_request_is_lost_while_an_agent_on_another_host_is_stopped_with_ctrl_c() {
    let Some(net) = Net::lay("Ctrl+C of an agent on another host", 2) else { return };
    let mut hosts = Hosts::start(net);
    hosts.post("/scale", r#"{"count": 4}"#);
    hosts.wait("four replicas", |status| status.has_settled(4));
    let traffic = Traffic::start(hosts.controller.address());
    traffic.wait_more(300);
    hosts.agents[1].interrupt();
    hosts.wait("all on the survivor", |status| status.has_settled(4) && Hosts::state_of(status, 1) == "left");
    assert!(hosts.agents[1].wait_end(PATIENCE).success());
    traffic.wait_more(300);
    traffic.stop().assert_nothing_lost();
}

#[test]
fn a_host_that_is_cut_off_under_load_loses_only_posts_that_it_had() {
    let Some(net) = Net::lay("a host that is cut off under load", 2) else { return };
    let hosts = Hosts::start(net);
    hosts.post("/scale", r#"{"count": 4}"#);
    hosts.wait("four replicas", |status| status.has_settled(4));
    let traffic = Traffic::start(hosts.controller.address());
    traffic.wait_more(300);
    // No RST, no FIN: silence.
    hosts.net.cable(1, "down");
    hosts.wait("four replicas on the other host", |status| status.has_settled(4) && Hosts::state_of(status, 1) == "lost");
    traffic.wait_more(300);
    // What waits there for an answer gets one, or is told: the host is to end its replicas.
    hosts.net.cable(1, "up");
    hosts.wait("the host that returned", |status| status.has_settled(4) && Hosts::state_of(status, 1) == "ready");
    traffic.wait_more(300);
    traffic.stop().assert_only_what_was_under_way_lost(CLIENTS);
}

#[test]
fn a_controller_that_is_cut_off_restarts_nobody() {
    let Some(net) = Net::lay("a controller that is cut off", 2) else { return };
    let hosts = Hosts::start(net);
    hosts.post("/scale", r#"{"count": 4}"#);
    let before = hosts.wait("four replicas", |status| status.has_settled(4));
    for nth in 0..2 {
        hosts.net.cable(nth, "down");
    }
    // Longer than `lost_after`, by the controller's own account.
    hosts.wait("silence for three seconds", |status| {
        status.nodes.iter().all(|node| node.state != "ready" && ["3.", "4.", "5."].iter().any(|seconds| node.detail.contains(seconds)))
    });
    for nth in 0..2 {
        hosts.net.cable(nth, "up");
    }
    let after = hosts.wait("the return of both", |status| status.has_settled(4) && status.nodes.iter().all(|node| node.state == "ready"));
    assert_eq!(after.pids(), before.pids());
}

#[test]
fn apps_call_each_other_across_hosts_and_lose_nothing_when_a_host_leaves() {
    let Some(net) = Net::lay("apps that call each other across hosts", 2) else { return };
    net.join();
    let mut hosts = Hosts::start_with(net, |home| vec!["--apps".to_owned(), uses::source(home)]);
    uses::write_apps(&hosts.home);
    let is_on_both = |status: &Status, app| {
        uses::of(status, app).any(|one| one.node.contains("10.77.0.")) && uses::of(status, app).any(|one| one.node.contains("10.77.1."))
    };
    let status = hosts
        .wait("both apps on both hosts", |status| uses::are_ready(status, 4) && is_on_both(status, "front") && is_on_both(status, "back"));
    let caller = uses::of(&status, "front").find(|replica| replica.node.contains("10.77.0.")).unwrap();
    let address = uses::address_of(caller, "back");
    // The clients are on the caller's host.
    hosts.net.enter("0");
    let mut seen: Vec<String> = (0..8).map(|_| Call::get("/").send(address).ok().worker()).collect();
    let traffic = Traffic::start(address);
    hosts.net.enter("c");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "not all replicas of both hosts answered: {seen:?}");
    traffic.wait_more(300);
    hosts.agents[1].interrupt();
    hosts.wait("all on the survivor", |status| uses::are_ready(status, 4) && Hosts::state_of(status, 1) == "left");
    assert!(hosts.agents[1].wait_end(PATIENCE).success());
    traffic.wait_more(300);
    traffic.stop().assert_nothing_lost();
}
