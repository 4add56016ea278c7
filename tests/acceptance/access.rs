//! Who may call: no page of somebody else's site, under no name of somebody else's.

use std::os::unix::process::CommandExt as _;

use serde_json::json;

use crate::harness::{Call, Setup, needs, program};

/// Calls as a browser would make them for a foreign page.
fn foreign(call: &Call, port: u16) -> Vec<(String, Call)> {
    let call = || call.clone();
    vec![
        ("a foreign Host".to_owned(), call().host("evil.example")),
        ("a foreign Host with our port".to_owned(), call().host(&format!("evil.example:{port}"))),
        ("a Host that begins like ours".to_owned(), call().host(&format!("localhost.evil.example:{port}"))),
        ("a foreign Origin".to_owned(), call().header("Origin", "http://evil.example")),
        ("another port's Origin".to_owned(), call().header("Origin", "http://localhost:3000")),
        ("the Origin of a sandboxed page".to_owned(), call().header("Origin", "null")),
        ("another site".to_owned(), call().header("Sec-Fetch-Site", "cross-site")),
    ]
}

#[test]
fn a_foreign_page_cannot_command_a_controller() {
    let cluster = Setup::new().agents(1).start();
    let before = cluster.settle(1);
    let add = json!({ "url": "http://localhost:1" }).to_string();
    let calls = [Call::post("/scale", r#"{"count":3}"#), Call::post("/add-node", add), Call::get("/status"), Call::get("/v1/openapi.json")];
    for call in &calls {
        for (what, call) in foreign(call, cluster.controller.port) {
            let answer = call.send(cluster.address());
            assert_eq!(answer.status(), 403, "{what}: {call:?}");
            answer.problem(403);
        }
    }
    assert_eq!(cluster.status().pids(), before.pids());
    assert_eq!(cluster.status().worker().desired, 1);
}

#[test]
fn a_page_of_our_own_may_call() {
    let cluster = Setup::new().agents(1).controller_args(&["--allow-host", "ops.example"]).start();
    let port = cluster.controller.port;
    let scale = || Call::post("/scale", r#"{"count":1}"#);
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}"), format!("ops.example:{port}")] {
        scale().host(&host).send(cluster.address()).ok();
        scale()
            .host(&host)
            .header("Origin", &format!("http://{host}"))
            .header("Sec-Fetch-Site", "same-origin")
            .send(cluster.address())
            .ok();
    }
    cluster.wait_settled(1);
}

#[test]
fn a_foreign_page_cannot_command_an_agent() {
    let cluster = Setup::new().agents(1).start();
    let before = cluster.settle(1);
    let agent = &cluster.agents[0];
    let id = &before.replicas[0].id;
    let calls = [
        Call::new("PUT", "/v1/assignment").body("{}"),
        Call::get("/v1/observe"),
        Call::get("/v1/node"),
        Call::get(&format!("/v1/replicas/{id}/logs")),
        Call::get(&format!("/v1/replicas/{id}/tunnel")).header("Connection", "upgrade").header("Upgrade", "ostler-tunnel"),
    ];
    for call in &calls {
        for (what, call) in foreign(call, agent.port) {
            let (head, _) = call.open(agent.address()).unwrap();
            assert_eq!(head.status, 403, "{what}: {call:?}");
        }
    }
    assert_eq!(cluster.status().pids(), before.pids());
}

#[test]
fn another_user_of_the_host_cannot_command_an_agent() {
    let curl = needs::program("curl");
    let may = needs::is_root() && curl.is_some();
    if !needs::is_there("a call by another user", "root and curl", may) {
        return;
    }
    let cluster = Setup::new().agents(1).start();
    let replica = cluster.settle(1).replicas[0].clone();
    let agent = cluster.agents[0].url();
    let status_of = |args: &[&str]| {
        let mut command = cluster.home.command("curl");
        command.current_dir("/").uid(65_534).gid(65_534).args(["-s", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}"]).args(args);
        program::run(&cluster.home, &mut command).stdout
    };
    for refused in [
        &["-X", "PUT", "-d", "{}", &format!("{agent}/v1/assignment")][..],
        &[&format!("{agent}/v1/observe")],
        &[&format!("{agent}/v1/replicas/{}/logs", replica.id)],
        &["-H", "Connection: upgrade", "-H", "Upgrade: ostler-tunnel", &format!("{agent}/v1/replicas/{}/tunnel", replica.id)],
    ] {
        assert_eq!(status_of(refused), "403", "{refused:?}");
    }
    for allowed in ["/healthz", "/v1/node"] {
        assert_eq!(status_of(&[&format!("{agent}{allowed}")]), "200", "{allowed}");
    }
    assert_eq!(cluster.status().pids()[&replica.id], replica.pid);
}

#[test]
fn apps_answer_whatever_host_is_asked_for() {
    let cluster = Setup::new().agents(1).start();
    cluster.settle(1);
    let answer = Call::get("/").host("shop.example").header("Origin", "http://other.example").send(cluster.address());
    assert_eq!(answer.status(), 200, "{}", answer.text());
}
