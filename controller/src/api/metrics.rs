//! Figures for Prometheus, in its text format, version 0.0.4.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cluster::route::RoutingTable;
use http::header;
use serde::Serialize;

use super::Api;
use super::exposition::{family, line};
use super::gateway_metrics;
use super::problem::Problem;
use super::usage;
use super::view::{Phase, State as NodeState, Status};

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "cluster", responses(
    (status = 200, description = "Figures in Prometheus' text format", content_type = "text/plain", body = String),
    (status = 503, description = "The control loop does not answer", body = Problem),
))]
pub async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let status: Status = api.control.status().await?.into();
    let mut text = text(&status, &api.sight.tables.borrow());
    usage::write(&mut text, &status);
    gateway_metrics::write(&mut text, &api.sight.observer.figures());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

const NODE_STATES: [NodeState; 9] = [
    NodeState::Connecting,
    NodeState::Ready,
    NodeState::Suspect,
    NodeState::Lost,
    NodeState::Draining,
    NodeState::Left,
    NodeState::Unreachable,
    NodeState::Foreign,
    NodeState::Duplicate,
];
const PHASES: [Phase; 6] = [Phase::Starting, Phase::Running, Phase::Draining, Phase::Stopping, Phase::Backoff, Phase::Stopped];

fn text(status: &Status, table: &RoutingTable) -> String {
    let mut out = String::new();
    family(&mut out, "ostler_nodes", "gauge", "Nodes by state.");
    let nodes = counted(&NODE_STATES, status.nodes.iter().map(|node| node.state));
    for (state, count) in nodes {
        line(&mut out, &format!("ostler_nodes{{state=\"{}\"}}", word(&state)), count);
    }
    family(&mut out, "ostler_replicas", "gauge", "Replicas by app and state.");
    for app in &status.apps {
        let mine = status.replicas.iter().filter(|replica| replica.app == app.name);
        for (phase, count) in counted(&PHASES, mine.map(|replica| replica.state)) {
            line(&mut out, &format!("ostler_replicas{{app=\"{}\",state=\"{}\"}}", app.name, word(&phase)), count);
        }
    }
    family(&mut out, "ostler_app_desired_replicas", "gauge", "Replicas that there should be.");
    for app in &status.apps {
        line(&mut out, &format!("ostler_app_desired_replicas{{app=\"{}\"}}", app.name), u64::from(app.desired));
    }
    family(&mut out, "ostler_app_ready_replicas", "gauge", "Replicas that get requests.");
    for app in &status.apps {
        line(&mut out, &format!("ostler_app_ready_replicas{{app=\"{}\"}}", app.name), u64::from(app.ready));
    }
    family(&mut out, "ostler_replica_restarts_total", "counter", "Starts in place of the replicas that are there now.");
    for app in &status.apps {
        let restarts: u64 =
            status.replicas.iter().filter(|replica| replica.app == app.name).map(|replica| u64::from(replica.restarts)).sum();
        line(&mut out, &format!("ostler_replica_restarts_total{{app=\"{}\"}}", app.name), restarts);
    }
    family(&mut out, "ostler_app_route", "gauge", "Rules of the routing table: 1 for each. Without a host: any.");
    for (app, routes) in &table.apps {
        for rule in &routes.rules {
            // Neither a host nor a path can have a quote or a backslash.
            let host = rule.host.as_ref().map(ToString::to_string).unwrap_or_default();
            line(&mut out, &format!("ostler_app_route{{app=\"{app}\",host=\"{host}\",path=\"{}\"}}", rule.path), 1);
        }
    }
    family(&mut out, "ostler_routing_table_version", "gauge", "Version of the routing table, within the epoch.");
    line(&mut out, "ostler_routing_table_version", table.version);
    family(&mut out, "ostler_epoch", "gauge", "The epoch in which this controller writes.");
    line(&mut out, "ostler_epoch", table.epoch);
    out
}

/// How often each comes; those that do not come count 0, so that no series disappears.
fn counted<T: Copy + Ord>(all: &[T], seen: impl Iterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts: BTreeMap<T, u64> = all.iter().map(|one| (*one, 0)).collect();
    for one in seen {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

/// The word of the API for a state.
fn word(state: &impl Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
