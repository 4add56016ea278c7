//! The routing table: which replicas of each app may get requests, and how each is reached.
//!
//! Derived from the cluster's state (`derive` in `state`), versioned, replaced whole. A gateway holds one and asks nobody
//! anything while it serves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::AppName;
use crate::id::{NodeId, ReplicaId};
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
    /// The app that a request belongs to, by its host and path.
    #[must_use]
    pub fn app_for(&self, _host: &str, _path: &str) -> Option<(&AppName, &AppRoutes)> {
        self.fallback.as_ref().and_then(|name| self.apps.get_key_value(name))
    }

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
    /// The replicas that may get requests, in the order of their ids.
    pub replicas: Vec<Route>,
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
