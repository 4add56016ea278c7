//! The seven scenarios of the original description, with its command lines to the letter; only the ports are others where those
//! of the description are taken.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::cluster::local;
use crate::harness::curl::Curl;
use crate::harness::{Call, Home, PATIENCE, Program, needs, ports, processes, wait_for, wait_until};

/// The ports of the description, and those that stand in for them.
struct Ports([(u16, u16); 3]);

impl Ports {
    fn others() -> Self {
        Ports([(8000, ports::free()), (9091, ports::free()), (9092, ports::free())])
    }

    /// Puts the ports into a command line of the description.
    fn line(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (original, port)| text.replace(&original.to_string(), &port.to_string()))
    }

    fn of(&self, original: u16) -> u16 {
        self.0.iter().find(|(known, _)| *known == original).unwrap().1
    }
}

#[test]
fn the_seven_scenarios_hold() {
    walk(Curl::Imitated, &Ports::others());
}

#[test]
fn the_seven_scenarios_hold_with_curl_and_the_ports_of_the_description() {
    let curl = if needs::is_there("the scenarios by curl", "curl", needs::program("curl").is_some()) { Curl::Real } else { Curl::Imitated };
    let _held = ports::those_of_the_description();
    let original = [8000, 9091, 9092];
    let are_free = original.iter().all(|port| ports::is_free(*port));
    let taken = "the ports 8000, 9091 and 9092 to be free";
    let ports = if needs::is_there("the scenarios on the ports of the description", taken, are_free) {
        Ports(original.map(|port| (port, port)))
    } else {
        Ports::others()
    };
    walk(curl, &ports);
}

/// A terminal: a shell in the directory of the programs, in which one line was typed.
fn terminal(home: &Home, name: &str, line: &str) -> Program {
    let state = home.path().join("state");
    Program::start(home, name, home.command("sh").args(["-c", &format!("exec {line}")]).env("STATE_DIRECTORY", state))
}

fn walk(curl: Curl, ports: &Ports) {
    let home = Home::new();
    let runtime_dirs = RuntimeDirs::of(&home, ports);
    let run = |line: &str| curl.run(&home, &ports.line(line));
    let status = || -> Value {
        let text = run("curl http://localhost:8000/status");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let replicas = |status: &Value| status["replicas"].as_array().unwrap().clone();
    let ready = |status: &Value| replicas(status).iter().filter(|replica| replica["ready"] == true).count();
    let ready_on = |status: &Value, port: u16| {
        let node = ports.line(&format!("http://localhost:{port}"));
        replicas(status).iter().filter(|replica| replica["ready"] == true && replica["node"] == *node).count()
    };
    let wait_status = |limit: Duration, what: &str, fits: &dyn Fn(&Value) -> bool| {
        wait_for(limit, what, || {
            let status = status();
            if fits(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    };

    let mut agent_1 = terminal(&home, "terminal-1", &ports.line("./agent -port 9091"));
    let mut agent_2 = terminal(&home, "terminal-2", &ports.line("./agent -port 9092"));
    let controller_line = if ports.of(8000) == 8000 { "./controller" } else { "./controller -port 8000" };
    let mut controller = terminal(&home, "terminal-3", &ports.line(controller_line));
    for original in [9091, 9092, 8000] {
        let address = local(ports.of(original));
        wait_until(PATIENCE, &format!("answer at {address}"), || Call::get("/healthz").try_send(address).is_ok());
    }

    // 1. Initialise the cluster (register hosts).
    run(r#"curl -X POST http://localhost:8000/add-node -d "{\"url\":\"http://localhost:9091\"}""#);
    run(r#"curl -X POST http://localhost:8000/add-node -d "{\"url\":\"http://localhost:9092\"}""#);
    wait_status(PATIENCE, "two nodes that are ready", &|status| {
        status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2 && nodes.iter().all(|node| node["state"] == "ready"))
    });

    // 2. Scale up.
    run(r#"curl -X POST http://localhost:8000/scale -d "{\"count\": 4}""#);

    // 3. Monitoring (the Cluster Map): running replicas, their ids, their uptime and the node each is bound to.
    let map = wait_status(PATIENCE, "four replicas, two on each node", &|status| {
        ready(status) == 4 && ready_on(status, 9091) == 2 && ready_on(status, 9092) == 2
    });
    for replica in replicas(&map) {
        assert_eq!(replica["id"].as_str().map(str::len), Some(36), "{replica}");
        assert!(replica["uptime_seconds"].is_f64() && replica["node"].is_string() && replica["state"] == "running", "{replica}");
    }

    // 4. Check that the application works (the balancer).
    let mut answers: Vec<String> = (0..8).map(|_| run("curl http://localhost:8000/")).collect();
    for answer in &answers {
        let id = answer.strip_prefix("Hello from Worker ID: ").and_then(|rest| rest.split_once(". Uptime: ")).map(|(id, _)| id);
        let id = id.unwrap_or_else(|| panic!("{answer:?}"));
        assert!(replicas(&map).iter().any(|replica| replica["id"] == *id), "{answer}");
    }
    answers.iter_mut().for_each(|answer| answer.truncate("Hello from Worker ID: ".len() + 36));
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 4, "eight requests must have reached all four workers");

    // 5. Scale down: the surplus processes are stopped.
    run(r#"curl -X POST http://localhost:8000/scale -d "{\"count\": 2}""#);
    let map_of_two = wait_status(PATIENCE, "two replicas", &|status| ready(status) == 2 && replicas(status).len() == 2);
    let pids = |status: &Value| replicas(status).iter().filter_map(|replica| replica["pid"].as_u64()).collect::<Vec<u64>>();
    for pid in pids(&map).iter().filter(|pid| !pids(&map_of_two).contains(pid)) {
        let pid = u32::try_from(*pid).unwrap();
        wait_until(PATIENCE, "end of the surplus processes", || !processes::is_alive(pid));
    }

    // 6. Failover test ("a host falls").
    assert_eq!((ready_on(&map_of_two, 9091), ready_on(&map_of_two, 9092)), (1, 1), "replicas are spread over both agents");
    agent_2.interrupt();
    wait_status(Duration::from_secs(6), "restart of the lost replica on the surviving node", &|status| ready_on(status, 9091) == 2);
    controller.wait_log(PATIENCE, &ports.line("http://localhost:9092"));
    assert!(agent_2.wait_end(PATIENCE).success());
    assert!(run("curl http://localhost:8000/").starts_with("Hello from Worker ID: "));

    // 7. A new node enters (recovery).
    let mut agent_2_again = terminal(&home, "terminal-2", &ports.line("./agent -port 9092"));
    // Typed at once: the controller may not have dialled the agent since it came back.
    agent_2_again.wait_log(PATIENCE, "the agent is ready");
    run(r#"curl -X POST http://localhost:8000/scale -d "{\"count\": 6}""#);
    wait_status(PATIENCE, "six replicas, the new ones on the node that returned", &|status| {
        ready(status) == 6 && ready_on(status, 9092) >= 2
    });

    // Everything ends with Ctrl+C, and nothing is left.
    for agent in [&mut agent_1, &mut agent_2_again] {
        agent.interrupt();
    }
    for agent in [&mut agent_1, &mut agent_2_again] {
        assert!(agent.wait_end(PATIENCE).success());
    }
    controller.interrupt();
    assert!(controller.wait_end(PATIENCE).success());
    home.wait_empty(PATIENCE);
    for directory in &runtime_dirs.0 {
        let left: Vec<_> = fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
        assert!(left.is_empty(), "left in {}: {left:?}", directory.display());
    }
}

/// The runtime directories of the agents, which lie where no test put them: these command lines name none.
struct RuntimeDirs([PathBuf; 2]);

impl RuntimeDirs {
    fn of(home: &Home, ports: &Ports) -> Self {
        let run = if needs::is_root() { PathBuf::from("/run") } else { home.path().join("run") };
        RuntimeDirs([9091, 9092].map(|original| run.join("ostler").join(ports.of(original).to_string())))
    }
}

impl Drop for RuntimeDirs {
    fn drop(&mut self) {
        // What replicas wrote outlives the agents.
        for directory in &self.0 {
            let logs = if needs::is_root() { PathBuf::from("/var/log/ostler") } else { continue };
            let _ = directory.file_name().map(|port| fs::remove_dir_all(logs.join(port)));
            let _ = fs::remove_dir(logs);
        }
        // Agents that end as they should remove them; here they were killed.
        if std::thread::panicking() {
            for directory in &self.0 {
                let _ = fs::remove_dir_all(directory);
            }
        }
    }
}
