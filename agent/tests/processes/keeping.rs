//! Replicas that outlive their agent, their guardian, or both.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, names_in, new_id, this_program};
use crate::proc::{is_alive, of_replicas, signal, wait_for, with_environment};

pub const TESTS: &[(&str, fn())] = &[
    ("keeping::agent_killed", agent_killed),
    ("keeping::guardian_killed", guardian_killed),
    ("keeping::guardian_frozen", guardian_frozen),
    ("keeping::both_killed", both_killed),
    ("keeping::ends_that_nobody_heard", ends_that_nobody_heard),
    ("keeping::told_to_end", told_to_end),
    ("keeping::started_without_the_flag", started_without_the_flag),
    ("keeping::upgraded", upgraded),
    ("keeping::forged_records", forged_records),
    ("keeping::health_goes_on", health_goes_on),
    ("keeping::service_manager_is_told", service_manager_is_told),
    ("keeping::record_that_cannot_be_written", record_that_cannot_be_written),
];

const SOON: Duration = Duration::from_secs(20);

/// One replica that counts, one with daemons.
fn started(home: &Home) -> (Agent, Vec<u32>) {
    let mut agent = Agent::keep(home);
    let program = this_program();
    let ids = agent.assign(&[&[&program, "replica", "count"], &[&program, "replica", "daemons"]]);
    let pids = agent.wait_ready(2);
    wait_for("the daemons run", SOON, || (of_replicas(&ids).len() >= 6).then_some(()));
    (agent, pids)
}

fn kill_agent(agent: &mut Agent) {
    signal(agent.pid(), Signal::KILL);
    agent.child.wait().unwrap();
}

/// What the next agent has is what the one before it had, with nothing started again.
#[track_caller]
fn assert_kept(agent: &Agent, pids: &[u32]) {
    let mut now = agent.wait_ready(pids.len());
    let mut before = pids.to_vec();
    now.sort_unstable();
    before.sort_unstable();
    assert_eq!(now, before);
    for replica in agent.replicas() {
        assert_eq!((&replica["restarts"], &replica["failures"], &replica["attempt"]), (&json!(0), &json!(0), &json!(1)), "{replica}");
    }
}

/// Everything that the replica that counts has written so far.
fn counted(home: &Home, id: &str) -> Vec<u64> {
    let directory = home.runtime().join("logs").join(format!("app0.{id}"));
    let mut files = names_in(&directory);
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(directory.join(file)).unwrap()).collect();
    let lines = text.lines().filter(|line| line.contains(" stdout F "));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// It goes on, and nothing is missing.
#[track_caller]
fn assert_continuous(home: &Home, id: &str) {
    let before = counted(home, id).len();
    wait_for("more output", SOON, || (counted(home, id).len() > before + 20).then_some(()));
    let numbers = counted(home, id);
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert!(gap.is_none() && numbers[0] == 0, "{gap:?}");
}

/// Everything stops when it is told to, whoever is its parent by now.
fn stop(agent: &Agent) {
    assert_eq!(agent.put(json!({})).status, 202);
    wait_for("every process is gone", SOON, || of_replicas(&agent.ids).is_empty().then_some(()));
    agent.wait("nothing runs", |replicas| replicas.is_empty().then_some(()));
}

fn end(mut agent: Agent, home: &Home) {
    agent.is_kept = false;
    let mark = format!("OSTLER_GUARDIAN={}", home.runtime().canonicalize().unwrap().display());
    signal(agent.pid(), Signal::INT);
    assert_eq!(agent.wait_end(), Some(0), "{}", home.log());
    let left = names_in(&home.runtime());
    assert!(left.iter().all(|name| name == "logs"), "{left:?}");
    wait_for("the guardian ends", SOON, || with_environment(&mark).is_empty().then_some(()));
}

fn agent_killed() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    let guardian = agent.guardian();
    let age = agent.replicas()[0]["age_ms"].as_u64().unwrap();
    for _ in 0..2 {
        kill_agent(&mut agent);
        agent = agent.next(&home, |_| {});
        assert_kept(&agent, &pids);
        assert_eq!(agent.guardian(), guardian);
    }
    assert!(agent.replicas()[0]["age_ms"].as_u64().unwrap() >= age);
    assert_continuous(&home, &agent.ids[0]);
    // What is older than what the one before it obeyed is refused.
    let old = json!({ "cluster": crate::agent_process::CLUSTER, "epoch": 1, "generation": 0 });
    assert_eq!(agent.put(old).status, 409);
    assert_kept(&agent, &pids);
    let other = json!({ "cluster": new_id(), "epoch": 9, "generation": 9 });
    assert_eq!(agent.put(other).status, 409);
    stop(&agent);
    end(agent, &home);
}

fn guardian_killed() {
    let home = Home::new();
    let (agent, pids) = started(&home);
    let guardian = agent.guardian();
    signal(guardian, Signal::KILL);
    let next = wait_for("another guardian", SOON, || Some(agent.guardian()).filter(|pid| *pid != guardian));
    assert!(next != guardian);
    assert_kept(&agent, &pids);
    assert_continuous(&home, &agent.ids[0]);
    // Now the agent is their parent, and can tell how they end.
    let victim = agent.replica(&agent.ids[0]).unwrap()["pid"].as_u64().unwrap() as u32;
    signal(victim, Signal::KILL);
    let replica = agent.wait("it is started again", |replicas| {
        replicas
            .iter()
            .find(|replica| replica["id"] == agent.ids[0].as_str() && replica["restarts"] == 1 && replica["ready"] == true)
            .cloned()
    });
    assert!(home.log().contains("its process was killed (SIGKILL)"), "{replica} {}", home.log());
    stop(&agent);
    end(agent, &home);
}

fn guardian_frozen() {
    let home = Home::new();
    let (agent, pids) = started(&home);
    let guardian = agent.guardian();
    signal(guardian, Signal::STOP);
    wait_for("the guardian that does not answer is ended", SOON, || (!is_alive(guardian)).then_some(()));
    assert_kept(&agent, &pids);
    assert_continuous(&home, &agent.ids[0]);
    stop(&agent);
    end(agent, &home);
}

fn both_killed() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    for _ in 0..2 {
        let guardian = agent.guardian();
        signal(guardian, Signal::STOP);
        signal(agent.pid(), Signal::STOP);
        signal(guardian, Signal::KILL);
        kill_agent(&mut agent);
        agent = agent.next(&home, |_| {});
        assert_kept(&agent, &pids);
    }
    assert_continuous(&home, &agent.ids[0]);
    // Nobody here is its parent: that it ended is seen, how is not.
    let victim = agent.replica(&agent.ids[1]).unwrap()["pid"].as_u64().unwrap() as u32;
    let before = of_replicas(&agent.ids[1..]);
    signal(victim, Signal::KILL);
    agent.wait("it is started again", |replicas| {
        replicas
            .iter()
            .any(|replica| replica["id"] == agent.ids[1].as_str() && replica["restarts"] == 1 && replica["ready"] == true)
            .then_some(())
    });
    assert!(home.log().contains("nobody could see how"), "{}", home.log());
    assert!(before.len() >= 6 && before.iter().all(|pid| !is_alive(*pid)), "its daemons of before are gone");
    stop(&agent);
    end(agent, &home);
}

fn ends_that_nobody_heard() {
    let home = Home::new();
    let mut agent = Agent::keep(&home);
    let spec = |command: Value| json!({ "command": command, "grace_ms": 400, "restart": { "when": "on-failure" } });
    let specs = json!({
        "app0@1": spec(json!([this_program(), "replica", "echo"])),
        "app1@1": spec(json!(["sh", "-c", "echo last words >&2; read line < $FIFO; exit 7"])),
    });
    let fifo = home.runtime().parent().unwrap().join("fifo");
    let mut specs = specs;
    specs["app1@1"]["env"] = json!({ "FIFO": fifo.to_str().unwrap() });
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let ids = [new_id(), new_id()];
    agent.ids.extend(ids.clone());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(agent.assign_again(&ids, specs).status, 202);
    agent.wait_ready(1);
    let waiting = wait_for("the other one runs", SOON, || of_replicas(&[ids[1].to_owned()]).first().copied());
    let pid = agent.replica(ids[0]).unwrap()["pid"].as_u64().unwrap() as u32;
    kill_agent(&mut agent);
    signal(pid, Signal::KILL);
    fs::write(&fifo, "go\n").unwrap();
    wait_for("both have ended", SOON, || (!is_alive(pid) && !is_alive(waiting)).then_some(()));
    let agent = agent.next(&home, |_| {});
    let replicas = agent.wait("both are started again", |replicas| {
        replicas.iter().all(|replica| replica["restarts"].as_u64() >= Some(1)).then(|| replicas.to_vec())
    });
    assert_eq!(replicas.len(), 2);
    let log = home.log();
    assert!(log.contains("its process exited with code 7; its last line: last words") && log.contains("(SIGKILL)"), "{log}");
    stop(&agent);
    end(agent, &home);
}

fn told_to_end() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    let guardian = agent.guardian();
    // As a service manager does it.
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    assert!(pids.iter().all(|pid| is_alive(*pid)) && is_alive(guardian));
    let agent = agent.next(&home, |_| {});
    assert_kept(&agent, &pids);
    // As a person does it.
    end(agent, &home);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

fn started_without_the_flag() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    let guardian = agent.guardian();
    kill_agent(&mut agent);
    agent.is_kept = false;
    let next = Agent::start(&home);
    assert!(pids.iter().all(|pid| !is_alive(*pid)) && !is_alive(guardian), "{}", home.log());
    assert!(of_replicas(&agent.ids).is_empty() && next.replicas().is_empty());
    assert!(!names_in(&home.runtime()).iter().any(|name| name == "guardian" || name == "obeyed.json"));
}

fn upgraded() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    let guardian = agent.guardian();
    kill_agent(&mut agent);
    let program = home.runtime().parent().unwrap().join("processes-2");
    fs::copy(this_program(), &program).unwrap();
    let runs = |path: &Path| fs::read_link(format!("/proc/{guardian}/exe")).unwrap() == path;
    assert!(!runs(&program));
    let ids = agent.ids.clone();
    let agent = agent.next_program(&home, &program);
    assert_kept(&agent, &pids);
    assert_eq!(agent.guardian(), guardian, "it is the same process");
    assert!(runs(&program), "with another program");
    assert_continuous(&home, &ids[0]);
    // It is still their parent.
    signal(pids[0], Signal::KILL);
    agent.wait("it is started again", |replicas| {
        replicas.iter().any(|replica| replica["restarts"] == 1 && replica["ready"] == true).then_some(())
    });
    assert!(home.log().contains("(SIGKILL)"), "{}", home.log());
    stop(&agent);
    end(agent, &home);
}

/// A process that is none of ours.
fn bystander(id: Option<&str>) -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").env_clear().stdin(Stdio::null()).process_group(0);
    if let Some(id) = id {
        command.env("OSTLER_REPLICA_ID", id);
    }
    command.spawn().unwrap()
}

fn forged_records() {
    let home = Home::new();
    let (mut agent, pids) = started(&home);
    let guardian = agent.guardian();
    signal(guardian, Signal::STOP);
    signal(guardian, Signal::KILL);
    kill_agent(&mut agent);
    let replicas = home.runtime().join("replicas");
    let genuine: Value = serde_json::from_slice(&fs::read(replicas.join(&agent.ids[0]).join("process.json")).unwrap()).unwrap();
    let mut bystanders = vec![bystander(None), bystander(None), bystander(Some(&new_id())), bystander(None)];
    let started = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse::<u64>().unwrap()
    };
    for (at, child) in bystanders.iter().enumerate() {
        let id = new_id();
        let directory = replicas.join(&id);
        fs::create_dir(&directory).unwrap();
        let mut forged = genuine.clone();
        forged["attempt"]["id"] = json!(id);
        forged["pid"] = json!(child.id());
        forged["started"] = json!(started(child.id()) + u64::from(at == 1));
        if at != 3 {
            forged["cgroup"] = Value::Null;
        }
        fs::write(directory.join("process.json"), forged.to_string()).unwrap();
    }
    // One that is cut short, and one of another boot.
    for text in [genuine.to_string()[..40].to_owned(), genuine.to_string().replace(genuine["boot"].as_str().unwrap(), "another")] {
        let directory = replicas.join(new_id());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("process.json"), text).unwrap();
    }
    let agent = agent.next(&home, |_| {});
    assert_kept(&agent, &pids);
    assert_eq!(home.log().matches("is ignored: ").count(), 6, "{}", home.log());
    stop(&agent);
    end(agent, &home);
    for child in &mut bystanders {
        assert!(child.try_wait().unwrap().is_none(), "a stranger was ended");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn health_goes_on() {
    let home = Home::new();
    let mut agent = Agent::keep(&home);
    let file = home.runtime().parent().unwrap().join("said");
    fs::write(&file, "READY=1\n").unwrap();
    let spec = json!({
        "command": [this_program(), "replica", "notify"], "grace_ms": 400, "env": { "FILE": file.to_str().unwrap() },
        "health": [
            { "kind": "push", "for": "readiness" },
            { "kind": "exec", "command": ["true"], "for": "liveness", "interval_ms": 100, "timeout_ms": 5_000 },
        ],
    });
    let id = agent.assign_spec(spec);
    let pids = agent.wait_ready(1);
    // It is not heard while nobody is there, and says it only once more.
    fs::write(&file, "").unwrap();
    kill_agent(&mut agent);
    let agent = agent.next(&home, |_| {});
    assert_kept(&agent, &pids);
    agent.wait("its checks are carried out", |replicas| {
        let checks = replicas.first()?["checks"].as_array()?;
        checks.iter().all(|check| check["state"] == "passing").then_some(())
    });
    fs::write(&file, "STOPPING=1\n").unwrap();
    agent.wait("it is heard again", |replicas| (replicas.first()?["ready"] == false).then_some(()));
    assert_eq!(agent.replica(&id).unwrap()["restarts"], 0);
    stop(&agent);
    end(agent, &home);
}

fn service_manager_is_told() {
    let home = Home::new();
    let path = home.runtime().parent().unwrap().join("manager");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let heard = || {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap().trim_end().to_owned()
    };
    let (agent, pids) = started(&home);
    signal(agent.pid(), Signal::TERM);
    let agent = agent.next(&home, |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(heard(), "READY=1");
    assert_kept(&agent, &pids);
    signal(agent.pid(), Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    let agent = agent.next(&home, |_| {});
    assert_kept(&agent, &pids);
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    assert!(with_environment(&variable).is_empty(), "nobody else is told of it");
    end(agent, &home);
}

fn record_that_cannot_be_written() {
    let home = Home::new();
    let mut agent = Agent::keep(&home);
    let replicas = home.runtime().join("replicas");
    let id = new_id();
    fs::write(replicas.join(&id), "in the way").unwrap();
    agent.ids.push(id.clone());
    let specs = json!({ "app0@1": { "command": [this_program(), "replica", "echo"], "grace_ms": 400 } });
    assert_eq!(agent.assign_again(&[&id], specs).status, 202);
    let detail = agent.wait("it says why", |replicas| {
        let detail = replicas.first()?["detail"].as_str()?;
        (!detail.is_empty()).then(|| detail.to_owned())
    });
    assert!(detail.contains("record.json") && detail.contains(&id) && !detail.contains('\n'), "{detail}");
    fs::remove_file(replicas.join(&id)).unwrap();
    agent.wait_ready(1);
    stop(&agent);
    end(agent, &home);
}
