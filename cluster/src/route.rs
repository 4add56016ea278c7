//! The routing table: which requests belong to each app, which of its replicas may get them, and how each is reached.
//!
//! Derived from the cluster's state (`decide`), versioned, replaced whole. A gateway holds one and asks nobody anything while it
//! serves. Absent from here: looking a request up (`router`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::AppName;
use crate::id::{NodeId, ReplicaId};
use crate::rule::RouteRule;
use crate::traffic::Traffic;

/// One process of one replica: a restart is another route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    /// Which replica.
    pub replica: ReplicaId,
    /// Which start of it.
    pub attempt: u32,
}

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// The controller's epoch; versions count within it.
    pub epoch: u64,
    /// Grows by one with each table that differs from the one before.
    pub version: u64,
    /// The app that gets what no rule claims.
    pub fallback: Option<AppName>,
    /// All apps, with and without replicas.
    pub apps: BTreeMap<AppName, AppRoutes>,
}

impl RoutingTable {
    /// All routes, with the app of each.
    pub fn routes(&self) -> impl Iterator<Item = (&AppName, &Route)> {
        self.apps.iter().flat_map(|(name, app)| app.replicas.iter().map(move |route| (name, route)))
    }
}

/// The routes of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRoutes {
    /// How many replicas there should be: with 0 a request is refused at once, else it may wait for one.
    pub desired: u32,
    /// How long an idle connection to a replica is kept, in milliseconds.
    pub keepalive_idle_ms: u64,
    /// How requests are spread over them.
    #[serde(default)]
    pub traffic: Traffic,
    /// Which requests belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRule>,
    /// The deadlines of its requests, where they are not the gateway's own.
    #[serde(default, skip_serializing_if = "Deadlines::is_default")]
    pub deadlines: Deadlines,
    /// The replicas that may get requests, in the order of their ids.
    pub replicas: Vec<Route>,
}

/// How long each part of a request to one app may take, and how often it is sent again. What is absent is as the gateway was told for all
/// apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// Opening a connection to a replica, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// From the last byte of a request to the first of its answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// For how long a body may stand still, in either direction, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_idle_ms: Option<u64>,
    /// Waiting for a ready replica, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// How often a request that a replica had got, and that may be repeated (RFC 9110 section 9.2.2), is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl Deadlines {
    /// Nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Deadlines::default()
    }
}

/// One replica that may get requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which process.
    pub key: RouteKey,
    /// On which node.
    pub node: NodeId,
    /// How to get there.
    pub target: Target,
    /// Its node is suspect: use it only when no other is there.
    #[serde(default)]
    pub last_choice: bool,
    /// For how long its process had run when it came into the table, in milliseconds: one that was adopted is not new.
    #[serde(default)]
    pub age_ms: u64,
}

/// How a gateway reaches a replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// On this host: `127.0.0.1` and this port.
    Loopback(u16),
    /// On another host: through the agent at `host:port`, by `GET /v1/replicas/{id}/tunnel`.
    Tunnel(String),
}

/// What a consumer of routing tables has acknowledged: the base of an ordered stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAck {
    /// No request starts by an older version any more.
    pub version: u64,
    /// Requests that are still under way on routes that this version no longer has; only those above 0.
    pub in_flight: BTreeMap<RouteKey, u64>,
}
