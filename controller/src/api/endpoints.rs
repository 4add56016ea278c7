//! Which replicas of an app are ready, and how they are reached.

use std::collections::BTreeMap;

use axum::extract::State;
use cluster::route::{Route, Target};
use cluster::status;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::json::Json;
use super::problem::Problem;
use super::segment::Segment;

/// The replicas of an app that may get requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Endpoints {
    /// The app.
    #[schema(example = "worker")]
    pub app: String,
    /// The controller's epoch; versions count within it.
    #[schema(example = 3)]
    pub epoch: u64,
    /// The version of the routing table.
    #[schema(example = 17)]
    pub version: u64,
    /// In the order of their ids.
    pub endpoints: Vec<Endpoint>,
}

/// A replica that may get requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Endpoint {
    /// Its id.
    pub replica: String,
    /// Which start of its process.
    #[schema(example = 1)]
    pub attempt: u32,
    /// Of which revision of the app; absent in the moment between a new table and its replica's report.
    #[schema(example = 1)]
    pub revision: Option<u64>,
    /// The URL of its node; absent for a node that was just removed.
    #[schema(example = "http://localhost:9091")]
    pub node: Option<String>,
    /// How the controller's gateway reaches it: `127.0.0.1:PORT` on its own host, else `tunnel:HOST:PORT`, through that agent.
    #[schema(example = "127.0.0.1:43121")]
    pub target: String,
    /// Used only where no other is ready: its node has not been heard for a moment.
    pub last_choice: bool,
}

/// The ready replicas of an app: the present routing table, as a gateway or an agent's balancer works by it.
#[utoipa::path(get, path = "/v1/apps/{name}/endpoints", params(("name" = String, Path, description = "The app's name")), tag = "apps",
    responses(
    (status = 200, description = "Its ready replicas, perhaps none", body = Endpoints),
    (status = 404, description = "No app has this name", body = Problem),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn endpoints(State(api): State<Api>, Segment(name): Segment) -> Result<Json<Endpoints>, Problem> {
    let status = api.control.status().await?;
    if !status.apps.iter().any(|app| app.name.as_str() == name) {
        return Err(Problem::not_found(format!("there is no app \"{name}\"; GET /v1/apps lists them")));
    }
    let table = api.sight.tables.borrow().clone();
    let replicas: BTreeMap<_, _> = status.replicas.iter().map(|replica| (replica.id, replica)).collect();
    let nodes: BTreeMap<_, _> = status.nodes.iter().map(|node| (node.id, node.url.to_string())).collect();
    let endpoint = |route: &Route| Endpoint {
        replica: route.key.replica.to_string(),
        attempt: route.key.attempt,
        revision: replicas.get(&route.key.replica).map(|replica: &&status::ReplicaStatus| replica.revision),
        node: nodes.get(&route.node).cloned(),
        target: match &route.target {
            Target::Loopback(port) => format!("127.0.0.1:{port}"),
            Target::Tunnel(agent) => format!("tunnel:{agent}"),
        },
        last_choice: route.last_choice,
    };
    let found = table.apps.iter().find(|(app, _)| app.as_str() == name);
    let endpoints = found.map(|(_, routes)| routes.replicas.iter().map(endpoint).collect()).unwrap_or_default();
    Ok(Json(Endpoints { app: name, epoch: table.epoch, version: table.version, endpoints }))
}
