//! However agent and guardian end, no process of a replica is left.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::agent_process::{Agent, Home, names_in, this_program};
use crate::http::Observer;
use crate::proc::{is_alive, of_replicas, signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("endings::agent_killed", agent_killed),
    ("endings::guardian_killed", guardian_killed),
    ("endings::guardian_killed_again_and_again", guardian_killed_again_and_again),
    ("endings::both_killed", both_killed),
    ("endings::guardian_frozen", guardian_frozen),
    ("endings::guardian_frozen_and_agent_killed", guardian_frozen_and_agent_killed),
    ("endings::asked_to_end", asked_to_end),
    ("endings::asked_to_end_while_a_controller_listens", asked_to_end_while_a_controller_listens),
    ("endings::asked_twice", asked_twice),
    ("endings::control_c", control_c),
    ("endings::output_closed", output_closed),
];

/// A bound that a busy machine keeps as well; the figures themselves are printed.
const SOON: Duration = Duration::from_secs(2);

fn daemons(agent: &mut Agent) -> (Vec<String>, Vec<u32>) {
    let program = this_program();
    let ids = agent.assign(&[&[&program, "replica", "daemons"], &[&program, "replica", "daemons"], &[&program, "replica", "echo"]]);
    agent.wait_ready(3);
    // Each: itself, two in a session of their own, two orphans in its session, one more daemon.
    wait_for("the daemons run", SOON, || (of_replicas(&ids).len() >= 11).then_some(()));
    let mut all = of_replicas(&ids);
    all.extend(wiped(agent.guardian()));
    (ids, all)
}

/// Daemons that can be told by nothing: children of the guardian with no environment.
fn wiped(guardian: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{guardian}/task/{guardian}/children")).unwrap();
    let is_wiped = |pid: &u32| std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| environ.is_empty()) && is_alive(*pid);
    children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_wiped).collect()
}

fn time_until_gone(all: &[u32]) -> Duration {
    let began = Instant::now();
    wait_for("every process is gone", SOON, || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
    began.elapsed()
}

fn agent_killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (_, all) = daemons(&mut agent);
    let guardian = agent.guardian();
    signal(agent.pid(), Signal::KILL);
    println!("  {} processes gone {} ms after the agent was killed", all.len(), time_until_gone(&all).as_millis());
    wait_for("the guardian is gone", SOON, || (!is_alive(guardian)).then_some(()));
}

fn guardian_killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (_, all) = daemons(&mut agent);
    let began = Instant::now();
    signal(agent.guardian(), Signal::KILL);
    println!("  {} processes gone {} ms after the guardian was killed", all.len(), time_until_gone(&all).as_millis());
    // The agent may not have heard of it yet.
    agent.wait("the next attempts are ready", |replicas| {
        replicas.iter().all(|replica| replica["ready"] == true && replica["attempt"] == 2).then_some(())
    });
    let pids = agent.wait_ready(3);
    println!("  all replaced and ready after {} ms", began.elapsed().as_millis());
    assert!(pids.iter().all(|pid| !all.contains(pid)));
    for replica in agent.replicas() {
        assert_eq!(replica["attempt"], 2);
        assert_eq!(replica["restarts"], 1);
    }
}

fn guardian_killed_again_and_again() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let program = this_program();
    let ids = agent.assign(&[&[&program, "replica", "echo"]]);
    for attempt in 1..=5 {
        agent.wait("the next attempt is ready", |replicas| {
            (replicas[0]["ready"] == true && replicas[0]["attempt"].as_u64().unwrap() >= attempt).then_some(())
        });
        if attempt < 5 {
            signal(agent.guardian(), Signal::KILL);
        }
    }
    assert_eq!(of_replicas(&ids).len(), 1);
}

fn both_killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (ids, all) = daemons(&mut agent);
    let guardian = agent.guardian();
    // Stopped first, so that neither sees the other end.
    signal(guardian, Signal::STOP);
    signal(agent.pid(), Signal::STOP);
    signal(guardian, Signal::KILL);
    signal(agent.pid(), Signal::KILL);
    agent.wait_end();
    // Those that the guardian was not the parent of when it died are still there.
    wait_for("the guardian is gone", SOON, || (!is_alive(guardian)).then_some(()));
    assert!(!of_replicas(&ids).is_empty());
    let next = Agent::start(&home);
    assert!(all.iter().all(|pid| !is_alive(*pid)), "{}", home.log());
    drop(next);
}

fn guardian_frozen() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (_, all) = daemons(&mut agent);
    let began = Instant::now();
    signal(agent.guardian(), Signal::STOP);
    wait_for("the frozen guardian is replaced", Duration::from_secs(10), || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
    agent.wait_ready(3);
    println!("  replaced and ready {} ms after the guardian was frozen", began.elapsed().as_millis());
}

fn guardian_frozen_and_agent_killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (_, all) = daemons(&mut agent);
    let guardian = agent.guardian();
    signal(guardian, Signal::STOP);
    signal(agent.pid(), Signal::KILL);
    agent.wait_end();
    let next = Agent::start(&home);
    assert!(all.iter().all(|pid| !is_alive(*pid)) && !is_alive(guardian), "{}", home.log());
    drop(next);
}

fn asked_to_end() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (_, all) = daemons(&mut agent);
    let began = Instant::now();
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    println!("  ended in order after {} ms", began.elapsed().as_millis());
    assert!(all.iter().all(|pid| !is_alive(*pid)));
    assert!(names_in(&home.runtime()).iter().all(|name| name == "logs"), "nothing but output is left");
}

fn asked_to_end_while_a_controller_listens() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let program = this_program();
    let id = agent.assign(&[&[&program, "replica", "echo"]]).remove(0);
    agent.wait_ready(1);
    let mut observer = Observer::new(agent.port);
    observer.next().unwrap();
    signal(agent.pid(), Signal::TERM);
    let leaving = std::iter::from_fn(|| observer.next()).find(|line| line.get("leaving").is_some()).unwrap();
    assert_eq!(leaving["leaving"]["within_ms"], 10_000 + 400 + 5_000);
    assert!(is_alive(agent.pid()) && agent.replica(&id).unwrap()["ready"] == true);
    let specs = json!({ "app0@1": { "command": [program, "replica", "echo"], "grace_ms": 400 } });
    for phase in ["drain", "stop"] {
        let replicas = json!([{ "id": id, "app": "app0", "revision": 1, "phase": phase }]);
        assert_eq!(agent.put(json!({ "specs": specs, "replicas": replicas })).status, 202);
    }
    let last = std::iter::from_fn(|| observer.next()).filter(|line| line.get("replica").is_some()).last().unwrap();
    assert_eq!((last["replica"]["id"].as_str(), last["replica"]["phase"].as_str()), (Some(id.as_str()), Some("stopped")));
    assert_eq!(agent.wait_end(), Some(0));
    assert!(names_in(&home.runtime()).iter().all(|name| name == "logs"), "nothing but output is left");
}

fn asked_twice() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let ids = agent.assign(&[&["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]]);
    let pid = agent.wait("it runs", |replicas| replicas[0]["pid"].as_u64());
    let _observer = Observer::new(agent.port);
    signal(agent.pid(), Signal::TERM);
    wait_for("it is leaving", SOON, || home.log().contains("leaving").then_some(()));
    assert!(is_alive(pid as u32));
    let began = Instant::now();
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    println!("  ended {} ms after the second signal", began.elapsed().as_millis());
    assert!(began.elapsed() < SOON && of_replicas(&ids).is_empty());
    assert!(names_in(&home.runtime()).iter().all(|name| name == "logs"), "nothing but output is left");
}

/// Ctrl+C goes to the agent's process group: it must reach the agent alone.
fn control_c() {
    let home = Home::new();
    let mut agent = Agent::start_with(&home, |command| {
        command.process_group(0);
    });
    agent.assign(&[&["sh", "-c", "trap 'echo asked >&2; exit 0' TERM; trap 'echo interrupted >&2' INT; while :; do sleep 0.01; done"]]);
    let id = agent.ids[0].clone();
    agent.wait("it runs", |replicas| replicas[0]["pid"].as_u64());
    rustix::process::kill_process_group(rustix::process::Pid::from_raw(agent.pid() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(agent.wait_end(), Some(0));
    let said = std::fs::read_to_string(home.runtime().join("logs").join(format!("app0.{id}")).join("000001.log")).unwrap();
    assert!(said.contains("asked") && !said.contains("interrupted"), "{said}");
}

fn output_closed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    // The log was read to learn the port; this one writes to pipes that nobody reads any more.
    drop(agent);
    let mut child = std::process::Command::new(this_program())
        .arg("agent")
        .arg(home.runtime())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    while !line.contains("the agent is ready") {
        line.clear();
        std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    }
    let port = line.split("port=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    drop((stderr, child.stdout.take()));
    agent = Agent::adopt(child, port, &home);
    let program = this_program();
    agent.assign(&[&[&program, "replica", "echo"]]);
    let pids = agent.wait_ready(1);
    signal(pids[0], Signal::KILL);
    agent.wait("it is started again", |replicas| (replicas[0]["ready"] == true && replicas[0]["attempt"] == 2).then_some(()));
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
}
