//! Apps that are applied, scaled and deleted by hand.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::rig::agent::FakeAgent;
use super::rig::controller::TestController;
use super::rig::eventually;

fn spec(program: &str, replicas: u32) -> String {
    json!({"name": "shop", "command": [program], "replicas": replicas}).to_string()
}

const SHOP: &str = "/v1/apps/shop";

async fn apply(controller: &TestController, target: &str, body: String) -> Value {
    let answer = controller.call(Method::PUT, target, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn ids(status: &Value) -> BTreeSet<String> {
    status["replicas"].as_array().unwrap().iter().map(|replica| replica["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_app_is_made_changed_scaled_and_deleted() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    let made = apply(&controller, SHOP, spec("x", 2)).await;
    assert_eq!((&made["change"], &made["restarts"]), (&"created".into(), &false.into()));
    assert_eq!((&made["app"]["source"], &made["app"]["count_from"]), (&"by hand".into(), &"spec".into()));
    let before = ids(&controller.until_ready(2).await);

    // A count that was set stays while the spec asks for the same, and gives way to another.
    controller.post("/scale", r#"{"app":"shop","count":3}"#).await;
    let again = apply(&controller, SHOP, spec("x", 2)).await;
    assert_eq!(
        (&again["change"], &again["app"]["desired"], &again["app"]["count_from"]),
        (&"unchanged".into(), &3.into(), &"scale".into())
    );
    let other = apply(&controller, SHOP, spec("x", 1)).await;
    assert_eq!((&other["change"], &other["restarts"], &other["app"]["revision"]), (&"changed".into(), &false.into(), &1.into()));
    let one = ids(&controller.until_ready(1).await);
    assert!(one.is_subset(&before), "a change of the count restarted something");

    let changed = apply(&controller, SHOP, spec("y", 1)).await;
    assert_eq!((&changed["restarts"], &changed["app"]["revision"]), (&true.into(), &2.into()));
    eventually("the replica of revision 2", || async {
        let status = controller.get("/status").await;
        let replicas = status["replicas"].as_array().unwrap();
        (replicas.len() == 1 && replicas[0]["revision"] == 2 && replicas[0]["ready"] == true).then_some(())
    })
    .await;
    assert_eq!(controller.get("/v1/apps/shop/spec").await["command"], json!(["y"]));

    let gone = controller.call(Method::DELETE, SHOP, "").await.json();
    assert_eq!(gone["deleting"], true);
    eventually("shop is forgotten", || async {
        let there = controller.get("/v1/apps").await["apps"].as_array().unwrap().iter().any(|app| app["name"] == "shop");
        (!there).then_some(())
    })
    .await;
    assert!(agent.replicas().is_empty());
    assert_eq!(controller.call(Method::DELETE, SHOP, "").await.status, StatusCode::NOT_FOUND);
    controller.stop().await;
}

#[tokio::test]
async fn a_change_may_be_bound_to_the_revision_that_was_seen() {
    let controller = TestController::start().await;
    apply(&controller, "/v1/apps/shop?revision=0", spec("x", 0)).await;
    let answer = controller.call(Method::PUT, "/v1/apps/shop?revision=0", spec("y", 0)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.problem().contains("has revision 1"));
    assert_eq!(answer.json()["revision"], 1);
    let seen = controller.call(Method::GET, SHOP, "").await;
    assert_eq!(seen.headers["etag"], "\"1\"");
    let changed = controller.call_as(Method::PUT, SHOP, &[("host", "localhost:8000"), ("if-match", "\"1\"")], spec("y", 0)).await;
    assert_eq!(changed.json()["app"]["revision"], 2, "{changed:?}");
    assert_eq!(
        controller.call_as(Method::DELETE, SHOP, &[("host", "localhost:8000"), ("if-match", "\"1\"")], "").await.status,
        StatusCode::CONFLICT
    );
    assert_eq!(
        controller.call(Method::PUT, "/v1/apps/none?revision=1", "{\"name\":\"none\",\"command\":[\"x\"]}").await.status,
        StatusCode::CONFLICT
    );

    let dry = apply(&controller, "/v1/apps/shop?dry_run=true", spec("z", 0)).await;
    assert_eq!((&dry["change"], &dry["restarts"], &dry["app"]["revision"]), (&"changed".into(), &true.into(), &2.into()));
    assert_eq!(controller.get("/v1/apps/shop/spec").await["command"], json!(["y"]));
    controller.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_changes_nothing_and_says_why() {
    let controller = TestController::start().await;
    let put = |target: &'static str, body: &'static str| controller.call(Method::PUT, target, body);
    for (target, body, status, says) in [
        (SHOP, "{\"name\":\"shop\",\"comand\":[\"x\"]}", StatusCode::UNPROCESSABLE_ENTITY, "did you mean \"command\""),
        (SHOP, "{\"name\":\"db\",\"command\":[\"x\"]}", StatusCode::UNPROCESSABLE_ENTITY, "the path is of shop"),
        (SHOP, "", StatusCode::UNPROCESSABLE_ENTITY, "shop:1:1"),
        (SHOP, "\u{0}", StatusCode::UNPROCESSABLE_ENTITY, "shop:1:1"),
        ("/v1/apps/shop?revision=x", "{}", StatusCode::BAD_REQUEST, "revision"),
        ("/v1/apps/shop?what=1", "{}", StatusCode::BAD_REQUEST, "what"),
    ] {
        let answer = put(target, body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.problem().contains(says), "{body}: {}", answer.problem());
    }
    let taken = "{\"name\":\"one\",\"command\":[\"x\"],\"default\":true}";
    assert_eq!(put("/v1/apps/one", taken).await.status, StatusCode::OK);
    let answer = put("/v1/apps/two", "{\"name\":\"two\",\"command\":[\"x\"],\"default\":true}").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.problem().contains("the apps one and two"), "{}", answer.problem());
    assert_eq!(controller.call(Method::POST, SHOP, "{}").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(controller.store.watch().borrow().apps.len(), 2);
    controller.stop().await;
}
