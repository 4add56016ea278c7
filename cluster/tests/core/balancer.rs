//! The balancer of a pretended agent.

use std::collections::BTreeMap;

use cluster::ClusterId;
use cluster::endpoints::{self, Acknowledged, Endpoints, HeldEndpoints};
use cluster::fence::{Held, Verdict};
use cluster::route::{RouteAck, RouteKey};

/// What it works by, and what it has under way.
#[derive(Default)]
pub struct Balancer {
    pub endpoints: Option<Endpoints>,
    /// Requests under way on routes that left the table.
    pub in_flight: BTreeMap<RouteKey, u64>,
}

impl Balancer {
    pub fn acknowledged(&self) -> Option<Acknowledged> {
        let ack = RouteAck { version: 0, in_flight: self.in_flight.clone() };
        self.endpoints.as_ref().map(|endpoints| Acknowledged::new(endpoints.stamp, endpoints.version, &ack))
    }

    /// Works by these, unless they are older or another cluster's; what is to be said then.
    pub fn put(&mut self, incoming: Endpoints, assigned: Held, runs_anything: bool) -> Option<Acknowledged> {
        let held = self.endpoints.as_ref().map(|held| HeldEndpoints { cluster: held.cluster, stamp: held.stamp });
        if endpoints::judge(assigned, runs_anything, held, &incoming) != Ok(Verdict::Apply) {
            return None;
        }
        self.endpoints = Some(incoming);
        self.acknowledged()
    }

    pub fn listen_to(&mut self, cluster: ClusterId) {
        self.endpoints.take_if(|endpoints| endpoints.cluster != cluster);
    }
}
