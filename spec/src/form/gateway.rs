//! `[gateway]`.

use cluster::route::Deadlines;
use cluster::traffic::{Balance, Protocol};
use cluster::traffic_policy::{RETRIES_MAX, TrafficPolicy};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::words;
use crate::duration::Duration;
use crate::fault::{Faults, at};

/// How requests reach the replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewayForm {
    /// Which replica gets the next request: `round-robin` (each in its turn), `least-request` (of two that are drawn, the one with fewer requests),
    /// `cookie:NAME` or `header:NAME` (the same one for the same value).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^(round-robin|least-request|cookie:.+|header:.+)$"), example = &"least-request")]
    balance: Option<Balance>,
    /// How long a new replica takes to get its full share of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    slow_start: Option<Duration>,
    /// The most replicas, in percent, that get no requests for a while since they fail while others do well; 0 leaves nobody out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u8", range(max = 100))]
    max_ejected: Option<u8>,
    /// What the replicas speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "protocol_words")]
    protocol: Option<Protocol>,
    /// How long an idle connection to a replica is kept; "4s" unless said. Less than the program's own keep-alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    keepalive_idle: Option<Duration>,
    /// How long opening a connection to a replica may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    connect: Option<Duration>,
    /// How long a replica may take from the last byte of a request to the first of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    first_byte: Option<Duration>,
    /// How long a body may stand still, in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    body_idle: Option<Duration>,
    /// How long a request waits for a replica that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    hold: Option<Duration>,
    /// How often a request that a replica had got, and that may be repeated (GET, PUT and the like), is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(max = RETRIES_MAX))]
    retries: Option<u32>,
}

fn protocol_words(_: &mut SchemaGenerator) -> Schema {
    words(&[("http1", "HTTP/1.1"), ("h2c", "HTTP/2 in the clear, from the first byte on, as gRPC programs do")])
}

impl GatewayForm {
    pub(crate) fn policy(self, faults: &mut Faults) -> TrafficPolicy {
        if let Some(percent) = self.max_ejected.filter(|percent| *percent > 100) {
            faults.add(at!["gateway", "max_ejected"], format!("{percent} is out of range; give 0 to 100, in percent"));
        }
        if let Some(count) = self.retries.filter(|count| *count > RETRIES_MAX) {
            faults.add(at!["gateway", "retries"], format!("{count} is out of range; give 0 to {RETRIES_MAX}"));
        }
        let mut ms = |key: &str, least: u64, time: Option<Duration>| {
            time.map(|time| time.within(least..=crate::duration::MS_MAX, at!["gateway", key], faults))
        };
        TrafficPolicy {
            balance: self.balance,
            slow_start_ms: ms("slow_start", 0, self.slow_start),
            max_ejected_percent: self.max_ejected,
            protocol: self.protocol,
            keepalive_idle_ms: ms("keepalive_idle", 0, self.keepalive_idle),
            deadlines: Deadlines {
                connect_ms: ms("connect", 1, self.connect),
                first_byte_ms: ms("first_byte", 1, self.first_byte),
                body_idle_ms: ms("body_idle", 1, self.body_idle),
                hold_ms: ms("hold", 0, self.hold),
                retries: self.retries,
            },
        }
    }
}

impl From<&TrafficPolicy> for GatewayForm {
    fn from(policy: &TrafficPolicy) -> Self {
        let time = |ms: Option<u64>| ms.map(Duration::of_ms);
        GatewayForm {
            balance: policy.balance.clone(),
            slow_start: time(policy.slow_start_ms),
            max_ejected: policy.max_ejected_percent,
            protocol: policy.protocol,
            keepalive_idle: time(policy.keepalive_idle_ms),
            connect: time(policy.deadlines.connect_ms),
            first_byte: time(policy.deadlines.first_byte_ms),
            body_idle: time(policy.deadlines.body_idle_ms),
            hold: time(policy.deadlines.hold_ms),
            retries: policy.deadlines.retries,
        }
    }
}
