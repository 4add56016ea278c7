//! The addresses at which replicas call other apps.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent_process::{Agent, CLUSTER, Home, new_id, this_program};
use crate::http::{self, Answer, Observer, get};
use crate::proc::wait_for;

pub const TESTS: &[(&str, fn())] = &[
    (
        "uses::an_address_is_balanced_over_the_replicas_that_the_controller_names",
        an_address_is_balanced_over_the_replicas_that_the_controller_names,
    ),
    ("uses::older_or_foreign_endpoints_are_refused", older_or_foreign_endpoints_are_refused),
    ("uses::a_request_under_way_is_told_until_it_ends", a_request_under_way_is_told_until_it_ends),
    ("uses::the_next_agent_on_a_runtime_directory_has_the_same_addresses", the_next_agent_on_a_runtime_directory_has_the_same_addresses),
    ("uses::a_replica_that_outlives_its_agent_has_its_address_again", a_replica_that_outlives_its_agent_has_its_address_again),
];

fn put(agent: &Agent, generation: u64, apps: Value) -> Answer {
    let body = json!({ "cluster": CLUSTER, "epoch": 1, "generation": generation, "version": generation + 100, "apps": apps });
    http::call(agent.port, "PUT", "/v1/endpoints", &[], body.to_string().as_bytes())
}

/// The routes of one app: these replicas, by id and port.
fn routes(replicas: &[(&str, u16)]) -> Value {
    let node = "0199b1c2-7d3e-7abc-8def-000000000001";
    let route = |(id, port): &(&str, u16)| json!({ "key": { "replica": id, "attempt": 1 }, "node": node, "target": { "loopback": port } });
    json!({ "desired": 1, "keepalive_idle_ms": 4_000, "replicas": replicas.iter().map(route).collect::<Vec<_>>() })
}

/// An agent that runs what says its environment, and uses the app `store`; and the port of that address.
fn user(home: &Home) -> (Agent, String, u16) {
    user_of(Agent::start(home))
}

fn user_of(mut agent: Agent) -> (Agent, String, u16) {
    let id = agent.assign_spec(json!({ "command": [this_program(), "replica", "facts"], "uses": ["store"] }));
    agent.wait_ready(1);
    let port = wait_for("it has said all", Duration::from_secs(5), || {
        let said = get(agent.port, &format!("/v1/replicas/{id}/logs?stream=stdout")).body;
        said.contains("\ndone\n").then(|| {
            let address = said.lines().find_map(|line| line.strip_prefix("env OSTLER_USES_STORE=http://127.0.0.1:"));
            address.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
        })
    });
    (agent, id, port)
}

/// Waits until the agent says that it works by these endpoints.
fn works_by(observer: &mut Observer, generation: u64, fits: impl Fn(&Value) -> bool) {
    loop {
        let line = observer.next().unwrap();
        let said = line.get("routes").or_else(|| line.get("snapshot")?.get("routes"));
        if let Some(said) = said.filter(|said| said["generation"] == generation && fits(said)) {
            assert_eq!((said["epoch"].as_u64(), said["version"].as_u64()), (Some(1), Some(generation + 100)));
            return;
        }
    }
}

fn an_address_is_balanced_over_the_replicas_that_the_controller_names() {
    let home = Home::new();
    let (mut agent, _, port) = user(&home);
    let (one, other) = (Server::new("one"), Server::new("other"));
    let (first, second) = (new_id(), new_id());
    assert_eq!(put(&agent, 1, json!({ "store": routes(&[(&first, one.port), (&second, other.port)]) })).status, 202);
    works_by(&mut Observer::new(agent.port), 1, |_| true);
    let mut answers: Vec<String> = (0..4).map(|_| get(port, "/status").body).collect();
    answers.sort();
    assert_eq!(answers, ["one", "one", "other", "other"]);
    assert_eq!(put(&agent, 2, json!({ "store": routes(&[(&second, other.port)]) })).status, 202);
    works_by(&mut Observer::new(agent.port), 2, |_| true);
    assert!((0..4).all(|_| get(port, "/").body == "other"));
    crate::proc::signal(agent.pid(), rustix::process::Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    assert!(!home.runtime().join("uses.json").exists());
}

fn older_or_foreign_endpoints_are_refused() {
    let home = Home::new();
    let (agent, _, _) = user(&home);
    assert_eq!(put(&agent, 5, json!({})).status, 202);
    assert_eq!(put(&agent, 5, json!({})).status, 202);
    let older = put(&agent, 4, json!({}));
    assert_eq!((older.status, older.json()["held"]["stamp"]["generation"].as_u64()), (409, Some(5)), "{}", older.body);
    let foreign = json!({ "cluster": new_id(), "epoch": 9, "generation": 9, "version": 9, "apps": {} });
    assert_eq!(http::call(agent.port, "PUT", "/v1/endpoints", &[], foreign.to_string().as_bytes()).status, 409);
    // An epoch that is older than the assignment's.
    let overtaken = json!({ "cluster": CLUSTER, "epoch": 0, "generation": 9, "version": 9, "apps": {} });
    assert_eq!(http::call(agent.port, "PUT", "/v1/endpoints", &[], overtaken.to_string().as_bytes()).status, 409);
    assert_eq!(http::call(agent.port, "PUT", "/v1/endpoints", &["origin: http://evil.example"], b"{}").status, 403);
    assert_eq!(http::call(agent.port, "PUT", "/v1/endpoints", &[], b"{}").status, 400);
}

fn a_request_under_way_is_told_until_it_ends() {
    let home = Home::new();
    let (agent, _, port) = user(&home);
    let slow = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let id = new_id();
    assert_eq!(put(&agent, 1, json!({ "store": routes(&[(&id, slow.local_addr().unwrap().port())]) })).status, 202);
    let asking = std::thread::spawn(move || get(port, "/"));
    let (mut upstream, _) = slow.accept().unwrap();
    let mut observer = Observer::new(agent.port);
    assert_eq!(put(&agent, 2, json!({ "store": routes(&[]) })).status, 202);
    works_by(&mut observer, 2, |said| said["in_flight"][0]["replica"] == id && said["in_flight"][0]["requests"] == 1);
    let _ = upstream.read(&mut [0; 1024]).unwrap();
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
    assert_eq!(asking.join().unwrap().body, "hi");
    works_by(&mut observer, 2, |said| said.get("in_flight").is_none());
}

fn the_next_agent_on_a_runtime_directory_has_the_same_addresses() {
    let home = Home::new();
    let (mut agent, _, before) = user(&home);
    crate::proc::signal(agent.pid(), rustix::process::Signal::KILL);
    agent.wait_end();
    let (_agent, _, after) = user(&home);
    assert_eq!(before, after);
}

fn a_replica_that_outlives_its_agent_has_its_address_again() {
    let home = Home::new();
    let (mut agent, _, port) = user_of(Agent::keep(&home));
    let pids = agent.wait_ready(1);
    crate::proc::signal(agent.pid(), rustix::process::Signal::KILL);
    agent.child.wait().unwrap();
    let next = Agent::keep(&home);
    assert_eq!(next.wait_ready(1), pids);
    // Before anybody has told it an assignment.
    let (one, id) = (Server::new("one"), new_id());
    assert_eq!(put(&next, 1, json!({ "store": routes(&[(&id, one.port)]) })).status, 202);
    assert_eq!(get(port, "/").body, "one");
}

/// A web server that says its name.
struct Server {
    port: u16,
}

impl Server {
    fn new(name: &'static str) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
            }
        });
        Server { port }
    }
}
