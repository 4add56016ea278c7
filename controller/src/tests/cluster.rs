//! The control task at work: restarts, foreign agents, later epochs, faults.

use cluster::Member;
use cluster::fence::Held;
use cluster::wire::Stamp;
use cluster::{App, ClusterId, ReplicaId};

use super::rig::agent::{FakeAgent, Mood, running};
use super::rig::controller::TestController;
use super::rig::eventually;
use crate::store::{self, Change};

#[tokio::test]
async fn a_controller_that_starts_again_adopts_what_runs() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(3).await;
    controller.until_ready(3).await;
    let before = agent.replicas();
    let first_epoch = agent.held().stamp.unwrap().epoch;

    let store = controller.stop().await;
    assert_eq!(agent.replicas(), before);
    let controller = TestController::start_with(store).await;
    controller.until_node_is(&agent.url(), "ready").await;
    controller.until_ready(3).await;
    eventually("the new controller is obeyed", || async { (agent.held().stamp.unwrap().epoch > first_epoch).then_some(()) }).await;
    assert_eq!(agent.replicas(), before);
    controller.stop().await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_foreign_and_left_alone_until_it_is_taken_over() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    agent.set_held(Held { cluster: Some(ClusterId(99)), stamp: Some(Stamp { epoch: 50, generation: 1 }) });
    agent.run(running(ReplicaId(1), 4000));
    let node = controller.add(&agent.url()).await;
    assert_eq!(node["state"], "foreign", "{node}");
    assert!(node["detail"].as_str().unwrap().contains("take_over"), "{node}");
    controller.scale(1).await;
    assert_eq!(agent.replicas().len(), 1);
    assert!(agent.assignments().is_empty());

    controller.post("/add-node", format!("{{\"url\":\"{}\",\"take_over\":true}}", agent.url())).await;
    eventually("the agent listens to us", || async { (agent.held().cluster == Some(ClusterId(7))).then_some(()) }).await;
    controller.until_ready(1).await;
    assert_ne!(agent.replicas()[0].id, ReplicaId(1));
    controller.stop().await;
}

#[tokio::test]
async fn a_later_epoch_at_an_agent_is_outrun_through_the_store() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(1).await;
    controller.until_ready(1).await;
    agent.set_held(Held { cluster: Some(ClusterId(7)), stamp: Some(Stamp { epoch: 1_000, generation: 5 }) });
    controller.scale(2).await;
    controller.until_ready(2).await;
    assert!(agent.held().stamp.unwrap().epoch > 1_000);
    assert!(controller.store.next_epoch(0).await.unwrap() > 1_001);
    controller.stop().await;
}

#[tokio::test]
async fn the_lease_is_renewed_with_the_same_assignment() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(1).await;
    controller.until_ready(1).await;
    let seen = agent.assignments().len();
    eventually("it comes again", || async { (agent.assignments().len() > seen + 1).then_some(()) }).await;
    let assignments = agent.assignments();
    assert_eq!(assignments[assignments.len() - 1], assignments[assignments.len() - 2]);
    controller.stop().await;
}

#[tokio::test]
async fn an_agent_that_dies_is_replaced_on_the_other() {
    let (controller, one, two) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    controller.add(&one.url()).await;
    controller.add(&two.url()).await;
    controller.scale(4).await;
    controller.until_ready(4).await;
    let url = two.url();
    two.kill().await;
    controller.until_node_is(&url, "lost").await;
    controller.until_ready(4).await;
    assert_eq!(one.replicas().len(), 4);
    controller.stop().await;
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_lost_and_taken_back_when_it_speaks() {
    let (controller, one, two) = (TestController::start().await, FakeAgent::start().await, FakeAgent::start().await);
    controller.add(&one.url()).await;
    controller.add(&two.url()).await;
    controller.scale(4).await;
    controller.until_ready(4).await;
    two.set_mood(Mood::Silent);
    controller.until_node_is(&two.url(), "suspect").await;
    controller.until_node_is(&two.url(), "lost").await;
    controller.until_ready(4).await;
    two.set_mood(Mood::Good);
    controller.until_node_is(&two.url(), "ready").await;
    eventually("exactly the desired number is left", || async { (one.replicas().len() + two.replicas().len() == 4).then_some(()) }).await;
    controller.stop().await;
}

#[tokio::test]
async fn an_assignment_that_an_agent_cannot_carry_out_shows_in_its_detail() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    agent.set_mood(Mood::Unable);
    controller.add(&agent.url()).await;
    controller.scale(1).await;
    eventually("the refusal shows", || async {
        let node = controller.node(&agent.url()).await?;
        node["detail"].as_str().filter(|detail| detail.contains("cannot do that")).map(|_| ())
    })
    .await;
    // Another agent in its place starts with a clean slate.
    let _able = FakeAgent::start_at(agent.kill().await).await;
    controller.until_ready(1).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_store_that_was_lost_stops_nothing() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    controller.add(&agent.url()).await;
    controller.scale(2).await;
    controller.until_ready(2).await;
    let before = agent.replicas();
    controller.stop().await;
    let emptied = TestController::start_with(std::sync::Arc::new(crate::store::memory::MemoryStore::new(ClusterId(8)))).await;
    assert_eq!(emptied.add(&agent.url()).await["state"], "foreign");
    emptied.scale(1).await;
    assert_eq!(agent.replicas(), before);
    let members: Vec<Member> = emptied.store.watch().borrow().members.values().cloned().collect();
    assert_eq!(members.len(), 1);
    emptied.stop().await;
}

#[tokio::test]
async fn an_agent_whose_replicas_use_an_app_is_told_its_endpoints_and_they_are_listed() {
    let (controller, agent) = (TestController::start().await, FakeAgent::start().await);
    let uses_itself = store::update(&*controller.store, |desired| {
        let mut app: App = desired.apps.values().next().unwrap().clone();
        app.spec.uses = vec![app.name.clone(), "nobody".parse().unwrap()];
        Ok::<_, store::Error>((Change { put_apps: vec![app], ..Change::default() }, ()))
    });
    uses_itself.await.unwrap();
    controller.add(&agent.url()).await;
    controller.scale(2).await;
    controller.until_ready(2).await;
    let told = eventually("the agent is told both", || async {
        let told = agent.endpoints()?;
        told.apps.values().any(|app| app.replicas.len() == 2).then_some(told)
    })
    .await;
    assert_eq!(told.cluster, ClusterId(7));
    assert_eq!(told.apps.len(), 1);
    let listed = controller.get("/v1/apps/worker/endpoints").await;
    let endpoints = listed["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{listed}");
    assert_eq!((&endpoints[0]["node"], &endpoints[0]["revision"]), (&agent.url().into(), &1.into()));
    assert!(endpoints[0]["target"].as_str().unwrap().starts_with("127.0.0.1:"), "{listed}");
    controller.call(http::Method::GET, "/v1/apps/nobody/endpoints", "").await.problem();
    // What goes is stopped in order: the agent's balancer acknowledges.
    controller.scale(1).await;
    eventually("one is left", || async { (agent.replicas().len() == 1).then_some(()) }).await;
    controller.stop().await;
}
