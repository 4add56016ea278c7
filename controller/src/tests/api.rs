//! The calls of the API, each as a person would make it.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;

use super::exposition;
use super::rig::agent::{FakeAgent, Mood};
use super::rig::controller::TestController;
use super::rig::{PATIENCE, eventually};

#[tokio::test]
async fn the_seeds_calls_fill_the_cluster_map() {
    let (controller, one, two) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    let status = controller.get("/status").await;
    assert_eq!(status["apps"][0]["name"], "worker");
    assert_eq!((status["apps"][0]["desired"].clone(), status["nodes"].clone()), (0.into(), Value::Array(vec![])));

    let first = controller.add(&one.url()).await;
    assert_eq!((&first["url"], &first["state"]), (&one.url().into(), &"ready".into()));
    let again = controller.add(&format!("{}/", one.url())).await;
    // What its host uses goes on.
    for field in ["id", "url", "name", "state", "detail", "replicas", "labels"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    controller.add(&two.url()).await;

    let app = controller.scale(4).await;
    assert_eq!((&app["name"], &app["desired"], &app["revision"]), (&"worker".into(), &4.into(), &1.into()));
    let status = controller.until_ready(4).await;
    assert_eq!(status["apps"][0]["ready"], 4);
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!((&node["replicas"], &node["state"]), (&2.into(), &"ready".into()));
    }
    let replica = &status["replicas"][0];
    for field in [
        "id",
        "app",
        "revision",
        "node",
        "state",
        "detail",
        "ready",
        "pid",
        "port",
        "tree",
        "limits",
        "uptime_seconds",
        "restarts",
        "checks",
    ] {
        assert!(!replica[field].is_null(), "{field} is missing");
    }
    assert_eq!(replica["state"], "running");

    assert_eq!(controller.scale(2).await["desired"], 2);
    controller.until_ready(2).await;
    assert_eq!(one.replicas().len() + two.replicas().len(), 2);
    controller.stop().await;
}

#[tokio::test]
async fn parts_of_the_map_have_addresses_of_their_own() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    assert_eq!(controller.post("/v1/apps/worker/scale", "{\"count\":3}").await["desired"], 3);
    let status = controller.until_ready(3).await;
    assert_eq!(controller.get("/v1/apps").await["apps"], status["apps"]);
    assert_eq!(controller.get("/v1/apps/worker").await, status["apps"][0]);
    // All but the host's uptime, which goes on.
    let (mut nodes, mut again) = (status["nodes"].clone(), controller.get("/v1/nodes").await["nodes"].take());
    for nodes in [&mut nodes, &mut again] {
        nodes[0]["usage"].as_object_mut().unwrap().remove("uptime_seconds").unwrap();
    }
    assert_eq!(again, nodes);
    assert_eq!(controller.get("/v1/replicas").await["replicas"].as_array().unwrap().len(), 3);
    assert_eq!(controller.get("/v1/status").await["apps"], status["apps"]);
    assert_eq!(controller.get("/healthz").await["status"], "ok");
    let version = controller.get("/v1/version").await;
    assert_eq!(version["cluster"], "00000000-0000-0000-0000-000000000007");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    controller.stop().await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_or_is_no_agent_is_registered_and_shown_as_what_it_is() {
    let (controller, stranger, mute) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    stranger.set_mood(Mood::Stranger);
    mute.set_mood(Mood::Mute);
    let nobody = FakeAgent::start().await;
    let nobody = format!("http://{}", nobody.kill().await);

    let node = controller.add(&nobody).await;
    assert_eq!(node["state"], "unreachable");
    assert!(node["detail"].as_str().unwrap().contains("refused"), "{node}");
    let node = controller.add(&stranger.url()).await;
    assert_eq!(node["state"], "unreachable");
    assert!(node["detail"].as_str().unwrap().contains("no Ostler agent"), "{node}");
    let began = std::time::Instant::now();
    assert_eq!(controller.add(&mute.url()).await["state"], "connecting");
    assert!(began.elapsed() < std::time::Duration::from_secs(3));

    // It is dialled until it is there.
    stranger.set_mood(Mood::Good);
    controller.until_node_is(&stranger.url(), "ready").await;
    controller.stop().await;
}

#[tokio::test]
async fn a_removed_node_is_emptied_and_forgotten_and_can_come_back() {
    let (controller, one, two) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    controller.add(&one.url()).await;
    controller.add(&two.url()).await;
    controller.scale(4).await;
    controller.until_ready(4).await;

    let body = format!("{{\"url\":\"{}\"}}", one.url());
    let removed = controller.post("/remove-node", body.clone()).await;
    assert_eq!((&removed["url"], &removed["state"]), (&one.url().into(), &"draining".into()));
    eventually("the node is forgotten", || async { controller.node(&one.url()).await.is_none().then_some(()) }).await;
    assert!(one.replicas().is_empty());
    assert_eq!(controller.until_ready(4).await["nodes"].as_array().unwrap().len(), 1);
    assert!(controller.store.watch().borrow().members.len() == 1);
    assert_eq!(controller.call(Method::POST, "/remove-node", body).await.status, StatusCode::NOT_FOUND);

    assert_eq!(controller.add(&one.url()).await["state"], "ready");
    assert_ne!(controller.node(&one.url()).await.unwrap()["id"], removed["id"]);
    controller.stop().await;
}

#[tokio::test]
async fn a_node_that_never_answered_can_be_removed() {
    let controller = TestController::start().await;
    let nobody = FakeAgent::start().await;
    let nobody = format!("http://{}", nobody.kill().await);
    controller.add(&nobody).await;
    let removed = controller.post("/remove-node", format!("{{\"url\":\"{nobody}\"}}")).await;
    assert_eq!(removed["url"], nobody);
    eventually("it is forgotten", || async { controller.node(&nobody).await.is_none().then_some(()) }).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_lost_node_that_was_removed_stays_as_a_tombstone_and_is_revived_by_add_node() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    let other = FakeAgent::start().await;
    controller.add(&other.url()).await;
    let added = controller.add(&agent.url()).await;
    controller.scale(2).await;
    controller.until_ready(2).await;
    agent.set_mood(Mood::Mute);
    // Its stream is open and says heartbeats still; the mood counts for new calls only.
    agent.set_mood(Mood::Silent);
    controller.until_node_is(&agent.url(), "lost").await;
    let body = format!("{{\"url\":\"{}\"}}", agent.url());
    agent.set_mood(Mood::Mute);
    let removed = controller.post("/remove-node", body).await;
    assert_eq!(removed["id"], added["id"]);
    assert!(controller.store.watch().borrow().members.values().any(|member| member.removed));
    let revived = controller.add(&agent.url()).await;
    assert_eq!(revived["id"], added["id"]);
    assert!(!controller.store.watch().borrow().members.values().any(|member| member.removed));
    controller.stop().await;
}

async fn next_line(body: &mut Incoming, read: &mut Vec<u8>) -> Value {
    loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            return serde_json::from_slice(&line).unwrap();
        }
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("no line").expect("an end").unwrap();
        read.extend_from_slice(&frame.into_data().unwrap());
    }
}

#[tokio::test]
async fn the_routing_table_comes_line_by_line() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    let request = Request::get("/v1/routes").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let response = controller.open(request).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let (mut body, mut read) = (response.into_body(), Vec::new());
    let mut last = next_line(&mut body, &mut read).await;
    controller.add(&agent.url()).await;
    controller.scale(2).await;
    while last["apps"]["worker"]["replicas"].as_array().is_none_or(|routes| routes.len() < 2) {
        let line = next_line(&mut body, &mut read).await;
        assert!(line["version"].as_u64() > last["version"].as_u64());
        last = line;
    }
    assert_eq!(last["fallback"], "worker");
    let stopping = controller.stop();
    let (_, end) = tokio::join!(stopping, body.collect());
    end.unwrap();
}

#[tokio::test]
async fn logs_are_passed_on_from_the_agent() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(1).await;
    let status = controller.until_ready(1).await;
    let id = status["replicas"][0]["id"].as_str().unwrap().to_owned();
    for (query, passed) in [
        ("", "follow=false"),
        ("?tail=5", "tail=5&follow=false"),
        ("?tail=7&follow=true", "tail=7&follow=true"),
        ("?since=10m&timestamps=true", "follow=false&since=600000ms&timestamps=true"),
    ] {
        let answer = controller.call(Method::GET, &format!("/v1/replicas/{id}/logs{query}"), "").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(answer.body, format!("said by /v1/replicas/{id}/logs when asked for {passed}\n"));
    }
    agent.kill().await;
    let answer = controller.call(Method::GET, &format!("/v1/replicas/{id}/logs"), "").await;
    assert!(matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_FOUND), "{answer:?}");
    answer.problem();
    controller.stop().await;
}

#[tokio::test]
async fn output_of_a_replica_that_nobody_has_any_more_is_asked_of_every_node() {
    let (controller, agent, other) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    let path = "/v1/replicas/0199b1c2-7d3e-7abc-8def-0123456789ab/logs";
    let nobody = controller.call(Method::GET, path, "").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    controller.add(&agent.url()).await;
    controller.add(&other.url()).await;
    other.kill().await;
    let answer = controller.call(Method::GET, &format!("{path}?since=1h"), "").await;
    assert_eq!(answer.body, format!("said by {path} when asked for follow=false&since=3600000ms\n"));
    agent.kill().await;
    let silent = controller.call(Method::GET, path, "").await;
    assert_eq!(silent.status, StatusCode::SERVICE_UNAVAILABLE);
    silent.problem();
    controller.stop().await;
}

#[tokio::test]
async fn figures_are_in_prometheus_format() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(3).await;
    controller.until_ready(3).await;
    let answer = controller.call(Method::GET, "/metrics", "").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        "ostler_nodes{state=\"ready\"} 1",
        "ostler_nodes{state=\"lost\"} 0",
        "ostler_replicas{app=\"worker\",state=\"running\"} 3",
        "ostler_replicas{app=\"worker\",state=\"backoff\"} 0",
        "ostler_app_desired_replicas{app=\"worker\"} 3",
        "ostler_app_ready_replicas{app=\"worker\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let status = controller.get("/status").await;
    let (replica, node) = (&status["replicas"][0], status["nodes"][0]["name"].as_str().unwrap());
    let labels = format!("{{app=\"worker\",replica=\"{}\",node=\"{node}\"}}", replica["id"].as_str().unwrap());
    for line in [
        format!("ostler_replica_cpu_seconds_total{labels} 4.25"),
        format!("ostler_replica_memory_bytes{labels} 3145728"),
        format!("ostler_replica_open_files{labels} 9"),
        format!("ostler_replica_threads{labels} 4"),
        format!("ostler_replica_processes{labels} 2"),
        format!("ostler_node_cpu_seconds_total{{node=\"{node}\"}} 60.5"),
        format!("ostler_node_load1{{node=\"{node}\"}} 0.25"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let series = exposition::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(series.keys().all(|series| series.starts_with("ostler_")), "{series:?}");
    controller.stop().await;
}

#[tokio::test]
async fn usage_stands_beside_what_it_is_of_and_is_absent_where_it_is_not_known() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.add("http://127.0.0.1:1").await;
    controller.scale(2).await;
    controller.until_ready(2).await;
    let status = controller.get("/status").await;
    let expected = serde_json::json!({
        "cpu_seconds": 4.25, "cpu_cores": 0.1, "memory_bytes": 3 << 20, "open_files": 9, "threads": 4, "processes": 2
    });
    assert_eq!(status["replicas"][0]["usage"], expected);
    assert_eq!(status["replicas"][1]["usage"], expected);
    let of = |port_is_one: bool| {
        let nodes = status["nodes"].as_array().unwrap();
        nodes.iter().find(|node| (node["url"] == "http://127.0.0.1:1") == port_is_one).unwrap()
    };
    assert_eq!((&of(false)["usage"]["cpu_seconds"], &of(false)["usage"]["cores"]), (&60.5.into(), &2.into()));
    assert!(of(true).get("usage").is_none(), "{status}");
    controller.stop().await;
}

#[tokio::test]
async fn the_openapi_document_describes_each_call() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    let document = controller.get("/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    let served = include_str!("../api/mod.rs").matches(".route(\"").count();
    for schema in ["Check", "CheckPurpose", "CheckState", "ReplicaState", "ReplicaUsage", "NodeUsage"] {
        assert!(document["components"]["schemas"].get(schema).is_some(), "{schema} is not described");
    }
    assert_eq!(paths.len(), served, "a route without a description, or the other way round");
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let concrete = path.replace("{name}", "worker").replace("{id}", "x");
            let request = Request::builder().method(method.clone()).uri(&concrete).header("host", "localhost");
            let status = controller.open(request.body(Full::<Bytes>::default()).unwrap()).await.status();
            assert!(operation["responses"].get(status.as_str()).is_some(), "{method} {path} answers {status}, which is not described");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_problem = status.starts_with(['4', '5']);
                let content = response["content"].as_object();
                assert_eq!(is_problem, content.is_some_and(|kinds| kinds.contains_key("application/problem+json")), "{path} {status}");
            }
        }
    }
    controller.stop().await;
}
