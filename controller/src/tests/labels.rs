//! Labels, and apps that choose by them or say whose requests are theirs.

use cluster::rule::RouteRule;
use cluster::{App, AppName};
use http::Method;
use serde_json::{Value, json};

use super::rig::agent::FakeAgent;
use super::rig::controller::TestController;
use super::rig::eventually;
use crate::store::{self, Change};

/// Changes the app as its next spec would.
async fn change(controller: &TestController, change: impl Fn(&mut App)) {
    let put = |desired: &store::Desired| {
        let mut app = desired.apps[&AppName::builtin()].clone();
        change(&mut app);
        Ok::<_, store::Error>((Change { put_apps: vec![app], ..Change::default() }, ()))
    };
    store::update(&*controller.store, put).await.unwrap();
}

async fn label(controller: &TestController, node: &str, call: Value) -> Value {
    controller.post(&format!("/v1/nodes/{node}/labels"), call.to_string()).await
}

#[tokio::test]
async fn a_label_is_set_and_taken_away_by_id_name_or_url() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    let node = controller.add(&agent.url()).await;
    assert_eq!(node["labels"], json!({}));
    let id = node["id"].as_str().unwrap();
    assert_eq!(label(&controller, id, json!({"set": {"zone": "a", "disk": "ssd"}})).await["labels"], json!({"zone": "a", "disk": "ssd"}));
    let name = node["name"].as_str().unwrap();
    let set = label(&controller, name, json!({"set": {"zone": "b"}, "remove": ["disk", "never"]})).await;
    assert_eq!((&set["labels"], &set["id"]), (&json!({"zone": "b"}), &id.into()));
    let url = agent.url().to_uppercase().replace(':', "%3A").replace('/', "%2F");
    assert_eq!(label(&controller, &url, json!({"set": {"zone": "c"}})).await["labels"], json!({"zone": "c"}));
    // Added again it is what it was.
    assert_eq!(controller.add(&agent.url()).await["labels"], json!({"zone": "c"}));
    assert_eq!(controller.get("/status").await["nodes"][0]["labels"], json!({"zone": "c"}));

    for (node, call, status) in [
        ("nobody", json!({"set": {"zone": "a"}}), 404),
        (name, json!({}), 400),
        (name, json!({"set": {"zo ne": "a"}}), 400),
        (name, json!({"set": {"zone": ""}}), 400),
        (name, json!({"set": {"zone": "a"}, "remove": ["zone"]}), 400),
        (name, json!({"sets": {}}), 400),
        (name, json!({"set": (0..65).map(|key| (format!("k{key}"), "v")).collect::<std::collections::BTreeMap<_, _>>()}), 400),
    ] {
        let answer = controller.call(Method::POST, &format!("/v1/nodes/{node}/labels"), call.to_string()).await;
        assert_eq!(answer.status, status, "{call}: {answer:?}");
        answer.problem();
    }
    assert_eq!(controller.call(Method::GET, &format!("/v1/nodes/{name}/labels"), "").await.status, 405);
    controller.stop().await;
}

#[tokio::test]
async fn labels_outlive_the_controller_and_tell_where_an_app_may_run() {
    let (controller, one, two) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    let (first, second) = (controller.add(&one.url()).await, controller.add(&two.url()).await);
    change(&controller, |app| app.placement.constraints = vec!["zone=eu".parse().unwrap()]).await;
    controller.scale(2).await;
    eventually("it says why it waits", || async {
        let status = controller.get("/status").await;
        status["apps"][0]["waiting"].to_string().contains("2 of 2 to start: no node has label zone=eu").then_some(())
    })
    .await;
    label(&controller, second["id"].as_str().unwrap(), json!({"set": {"zone": "eu"}})).await;
    controller.until_ready(2).await;
    assert_eq!((one.replicas().len(), two.replicas().len()), (0, 2));

    let controller = TestController::start_with(controller.stop().await).await;
    controller.until_ready(2).await;
    let node = controller.until_node_is(&two.url(), "ready").await;
    assert_eq!(node["labels"], json!({"zone": "eu"}));
    // What runs stays when the label goes, and what is new waits.
    label(&controller, first["id"].as_str().unwrap(), json!({"set": {"zone": "us"}})).await;
    label(&controller, second["id"].as_str().unwrap(), json!({"remove": ["zone"]})).await;
    controller.scale(3).await;
    eventually("the third waits", || async {
        let status = controller.get("/status").await;
        status["apps"][0]["waiting"].to_string().contains("1 of 3 to start: no node has label zone=eu").then_some(())
    })
    .await;
    controller.until_ready(2).await;
    assert_eq!(two.replicas().len(), 2);
    controller.stop().await;
}

#[tokio::test]
async fn routes_and_metrics_show_the_rules_of_an_app() {
    let controller = TestController::start().await;
    let rule = |host: &str, path: &str| RouteRule { host: host.parse().ok(), path: path.parse().unwrap(), strip_prefix: true };
    change(&controller, |app| {
        app.routes = vec![rule("*.shop.example", "/api"), rule("", "/v2")];
        app.traffic.deadlines.body_idle_ms = Some(600_000);
        app.traffic.deadlines.retries = Some(0);
    })
    .await;
    let wanted = "ostler_app_route{app=\"worker\",host=\"*.shop.example\",path=\"/api\"} 1";
    eventually("the rules are there", || async {
        let text = controller.call(Method::GET, "/metrics", "").await.body;
        let text = String::from_utf8_lossy(&text);
        (text.contains(wanted) && text.contains("ostler_app_route{app=\"worker\",host=\"\",path=\"/v2\"} 1")).then_some(())
    })
    .await;
    let mut tables = controller.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut tables, b"GET /v1/routes HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    while !text.contains("\"version\"") || !text.ends_with('\n') {
        let mut bytes = [0; 4_096];
        let count = tokio::io::AsyncReadExt::read(&mut tables, &mut bytes).await.unwrap();
        assert_ne!(count, 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(
        text.contains(r#""rules":[{"host":"*.shop.example","path":"/api","strip_prefix":true},{"path":"/v2","strip_prefix":true}]"#),
        "{text}"
    );
    assert!(text.contains(r#""deadlines":{"body_idle_ms":600000,"retries":0}"#), "{text}");
    controller.stop().await;
}
