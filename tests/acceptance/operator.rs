//! The operator's commands.

use serde_json::Value;

use crate::harness::program::{self, Ended, Program};
use crate::harness::{Cluster, Home, PATIENCE, Setup, ports};

fn ostler(home: &Home, controller: &str, args: &[&str]) -> Ended {
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    program::run(home, command.args(args).env("OSTLER_CONTROLLER", controller))
}

#[track_caller]
fn done(cluster: &Cluster, args: &[&str]) -> String {
    let ended = ostler(&cluster.home, &cluster.controller.url(), args);
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    assert_eq!(ended.stderr, "", "{args:?}");
    ended.stdout
}

#[track_caller]
fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let text = done(cluster, args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

#[test]
fn a_cluster_is_run_by_commands() {
    let cluster = Setup::new().start();
    let (first, second) = (cluster.agents[0].url(), cluster.agents[1].url());
    assert!(done(&cluster, &["add-node", &first]).contains(&first));
    assert_eq!(json(&cluster, &["add-node", &first, "--json"])["url"], *first);
    assert!(done(&cluster, &["scale", "3"]).contains('3'));
    let settled = cluster.wait_settled(3);

    let text = done(&cluster, &["status"]);
    for replica in &settled.replicas {
        assert!(text.contains(&replica.id), "{text}");
    }
    assert!(text.contains(&first) && text.contains(&second) && text.contains("worker"), "{text}");
    let status = json(&cluster, &["status", "--json"]);
    assert_eq!((&status["apps"][0]["desired"], status["replicas"].as_array().map(Vec::len)), (&3.into(), Some(3)));
    let nodes = done(&cluster, &["nodes"]);
    assert!(nodes.contains(&first) && nodes.contains(&second) && nodes.contains("ready"), "{nodes}");
    assert_eq!(json(&cluster, &["nodes", "--json"]).as_array().map(Vec::len), Some(2));

    assert_eq!(json(&cluster, &["scale", "worker", "2", "--json"])["desired"], 2);
    cluster.wait_settled(2);
    done(&cluster, &["remove-node", &second]);
    cluster.wait_status("one node", |status| status.nodes.len() == 1 && status.has_settled(2));
    let elsewhere = ostler(&cluster.home, "http://localhost:1", &["nodes", "--controller", &cluster.controller.url()]);
    assert_eq!(elsewhere.code, Some(0), "a flag counts more than the environment: {elsewhere:?}");
}

#[test]
fn labels_are_given_by_the_agents_command_line_and_by_the_operator() {
    let mut cluster = Setup::new().agents(1).agent_args(&["--label", "zone=a", "--label", "disk=ssd"]).start();
    cluster.wait_status("the node is ready", |status| status.nodes.iter().all(|node| node.state == "ready"));
    let url = cluster.agents[0].url();
    let wide = done(&cluster, &["nodes", "-o", "wide"]);
    assert!(wide.contains("LABELS") && wide.contains("disk=ssd,zone=a"), "{wide}");
    assert!(!done(&cluster, &["nodes"]).contains("ssd"));
    let node = json(&cluster, &["label", &url, "zone=b", "rack=r1", "--json"]);
    assert_eq!(node["labels"], serde_json::json!({"disk": "ssd", "rack": "r1", "zone": "b"}));
    // By its name too; what the agent says for it counts again.
    let name = node["name"].as_str().unwrap().to_owned();
    let text = done(&cluster, &["label", &name, "zone-"]);
    assert!(text.contains("disk=ssd,rack=r1,zone=a") && text.contains("zone is still there"), "{text}");
    cluster.controller.program.kill();
    cluster.restart_controller();
    cluster.wait_status("the node is ready again", |status| status.nodes.iter().all(|node| node.state == "ready"));
    assert_eq!(json(&cluster, &["nodes", "-o", "json"])[0]["labels"]["rack"], "r1");

    let controller = cluster.controller.url();
    for (args, code) in [
        (&["label", &url][..], 2),
        (&["label", &url, "zone"], 2),
        (&["label", &url, "zone=a b"], 2),
        (&["label", &url, "zone=a", "zone-"], 2),
        (&["label", "nobody", "zone=a"], 1),
        (&["nodes", "-o", "tall"], 2),
    ] {
        let ended = ostler(&cluster.home, &controller, args);
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
    }
    let refused = ostler(&cluster.home, &controller, &["label", "nobody", "zone=a"]);
    assert!(refused.stderr.contains("there is no node \"nobody\""), "{refused:?}");
    let mut command = cluster.home.command(&cluster.home.cwd().join("ostler").to_string_lossy());
    let refused = program::run(&cluster.home, command.args(["agent", "--port", "0", "--label", "zone"]));
    assert!(refused.code == Some(2) && refused.stderr.contains("KEY=VALUE"), "{refused:?}");
}

#[test]
fn refusals_are_told_in_one_line() {
    let cluster = Setup::new().agents(1).start();
    let url = cluster.controller.url();
    for args in [&["remove-node", "http://localhost:1"][..], &["scale", "shop", "3"], &["logs", "0199"], &["add-node", &url]] {
        let ended = ostler(&cluster.home, &url, args);
        assert_eq!(ended.code, Some(1), "{args:?}: {ended:?}");
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("ostler: ") && ended.stdout.is_empty(), "{args:?}: {ended:?}");
    }
    for args in [&["scale", "-1"][..], &["scale", "4.0"], &["scale"], &["add-node", "localhost"], &["what"]] {
        assert_eq!(ostler(&cluster.home, &url, args).code, Some(2), "{args:?}");
    }
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let home = Home::new();
    let url = format!("http://localhost:{}", ports::free());
    for args in [
        &["status"][..],
        &["nodes"],
        &["scale", "1"],
        &["add-node", "http://localhost:1"],
        &["remove-node", "http://localhost:1"],
        &["logs", "x"],
    ] {
        let ended = ostler(&home, &url, args);
        assert_eq!(ended.code, Some(1), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(&url) && ended.stderr.trim_end().lines().count() == 1, "{args:?}: {ended:?}");
    }
}

#[test]
fn logs_are_shown_and_followed() {
    let cluster = Setup::new().agents(1).start();
    let replica = cluster.settle(1).replicas[0].clone();
    assert!(done(&cluster, &["logs", &replica.id]).contains("listening on"));
    assert!(done(&cluster, &["logs", &replica.id[24..], "--tail", "1"]).contains("listening on"), "an end of the id will do");

    let mut command = cluster.home.command(&cluster.home.cwd().join("ostler").to_string_lossy());
    command.args(["logs", &replica.id, "-f", "--controller", &cluster.controller.url()]);
    let mut follower = Program::start(&cluster.home, "logs", &mut command);
    follower.wait_log(PATIENCE, "listening on");
    let _ = crate::harness::Call::post("/crash?code=3", "").try_send(cluster.address());
    follower.wait_log(PATIENCE, "a crash was asked for");
    follower.interrupt();
    assert!(follower.wait_end(PATIENCE).success());
}

#[test]
fn an_output_that_nobody_reads_is_no_failure() {
    let cluster = Setup::new().agents(1).start();
    cluster.settle(2);
    let line = format!(
        "{} status --controller {} | head -n 1; echo ${{PIPESTATUS:-none}}",
        cluster.home.cwd().join("ostler").display(),
        cluster.controller.url()
    );
    let ended = program::run(&cluster.home, cluster.home.command("sh").args(["-c", &line]));
    assert!(ended.code == Some(0) && !ended.stderr.contains("panicked"), "{ended:?}");
}
