//! What can be looked at.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::Api;
use super::json::Json;
use super::problem::Problem;
use super::segment::Segment;
use super::view::{App, Apps, Health, Node, Nodes, Replica, Replicas, Status, Version};

/// The cluster map: apps, nodes and replicas.
#[utoipa::path(get, path = "/status", tag = "cluster", responses(
    (status = 200, description = "The whole cluster", body = Status),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn status(State(api): State<Api>) -> Result<Json<Status>, Problem> {
    let status = api.control.status().await?;
    Ok(Json(Status::of(status, api.sight.report().as_deref())))
}

/// The cluster map: apps, nodes and replicas. The same as /status.
#[utoipa::path(get, path = "/v1/status", tag = "cluster", responses(
    (status = 200, description = "The whole cluster", body = Status),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn status_v1(state: State<Api>) -> Result<Json<Status>, Problem> {
    status(state).await
}

/// All apps.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", responses(
    (status = 200, description = "All apps", body = Apps),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn apps(State(api): State<Api>) -> Result<Json<Apps>, Problem> {
    let report = api.sight.report();
    let apps = api.control.status().await?.apps.into_iter();
    Ok(Json(Apps { apps: apps.map(|app| App::of(app, report.as_deref())).collect() }))
}

/// One app.
#[utoipa::path(get, path = "/v1/apps/{name}", params(("name" = String, Path, description = "The app's name")), tag = "apps", responses(
    (status = 200, description = "The app; its ETag is its revision", body = App),
    (status = 404, description = "No app has this name", body = Problem),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn app(State(api): State<Api>, Segment(name): Segment) -> Result<Response, Problem> {
    let found = api.control.status().await?.apps.into_iter().find(|app| app.name.as_str() == name);
    let app = found.ok_or_else(|| Problem::not_found(format!("there is no app \"{name}\"; GET /v1/apps lists them")))?;
    let etag = (header::ETAG, format!("\"{}\"", app.revision));
    Ok(([etag], Json(App::of(app, api.sight.report().as_deref()))).into_response())
}

/// All nodes.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", responses(
    (status = 200, description = "All nodes", body = Nodes),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn nodes(State(api): State<Api>) -> Result<Json<Nodes>, Problem> {
    Ok(Json(Nodes { nodes: api.control.status().await?.nodes.into_iter().map(Node::from).collect() }))
}

/// All replicas.
#[utoipa::path(get, path = "/v1/replicas", tag = "replicas", responses(
    (status = 200, description = "All replicas", body = Replicas),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn replicas(State(api): State<Api>) -> Result<Json<Replicas>, Problem> {
    Ok(Json(Replicas { replicas: api.control.status().await?.replicas.into_iter().map(Replica::from).collect() }))
}

/// Which version this is, and of which cluster.
#[utoipa::path(get, path = "/v1/version", tag = "cluster", responses((status = 200, description = "The version", body = Version)))]
pub async fn version(State(api): State<Api>) -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), cluster: api.store.cluster().to_string() })
}

/// Whether the controller lives: its control loop answers.
#[utoipa::path(get, path = "/healthz", tag = "cluster", responses(
    (status = 200, description = "It does", body = Health),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn healthz(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    api.control.status().await?;
    Ok(Json(Health { status: "ok" }))
}
