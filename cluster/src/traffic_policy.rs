//! What an app says of its own requests: each that is absent is as the controller was told for all apps.
//!
//! It changes no replica, so a change of it restarts nothing. Absent from here: what the gateway makes of it.

use serde::{Deserialize, Serialize};

use crate::route::Deadlines;
use crate::traffic::{Balance, Protocol, Traffic};

/// How long the gateway keeps an idle connection to a replica unless the app says otherwise, in milliseconds: Python and Node
/// close theirs after 5 s.
pub const KEEPALIVE_IDLE_MS: u64 = 4_000;
/// The most often that a request may be sent again.
pub const RETRIES_MAX: u32 = 10;

/// How the requests of one app reach its replicas, where it is not as for all apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficPolicy {
    /// Which replica gets the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// How long a new replica takes to get its full share, in milliseconds; 0: it gets it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start_ms: Option<u64>,
    /// The most replicas that may be left out at once, in percent: [`Traffic::max_ejected_percent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejected_percent: Option<u8>,
    /// What the replicas speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// How long an idle connection to a replica is kept, in milliseconds; [`KEEPALIVE_IDLE_MS`] unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_idle_ms: Option<u64>,
    /// How long each part of a request may take, and how often it is sent again.
    #[serde(flatten)]
    pub deadlines: Deadlines,
}

impl TrafficPolicy {
    /// How this app's requests are spread where all apps' are spread like `general`.
    #[must_use]
    pub fn over(&self, general: &Traffic) -> Traffic {
        Traffic {
            balance: self.balance.clone().unwrap_or_else(|| general.balance.clone()),
            slow_start_ms: self.slow_start_ms.unwrap_or(general.slow_start_ms),
            max_ejected_percent: self.max_ejected_percent.unwrap_or(general.max_ejected_percent),
            protocol: self.protocol.unwrap_or(general.protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_does_not_say_is_as_for_all() {
        let general = Traffic { slow_start_ms: 7, balance: Balance::LeastRequest, ..Traffic::default() };
        assert_eq!(TrafficPolicy::default().over(&general), general);
        let policy = TrafficPolicy { balance: Some(Balance::RoundRobin), max_ejected_percent: Some(0), ..TrafficPolicy::default() };
        let expected = Traffic { slow_start_ms: 7, max_ejected_percent: 0, ..Traffic::default() };
        assert_eq!(policy.over(&general), expected);
        assert_eq!(serde_json::to_string(&TrafficPolicy::default()).expect("it is plain data"), "{}");
    }
}
