//! What decisions depend on beside the cluster itself. Defaults: contracts, "Defaults".

use crate::traffic::Traffic;

/// The settings of a cluster; durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A node that has said nothing for so long is lost, and its replicas are replaced.
    pub lost_after_ms: u64,
    /// An agent hears from its controller within a third of this.
    pub lease_ms: u64,
    /// The control loop's slow tick. A tick that is late by more than [`LATE_MS`] restarts the clocks of all nodes.
    pub tick_ms: u64,
    /// How the requests of each app are spread.
    pub traffic: Traffic,
}

/// How late a tick may be before the controller believes that it was itself asleep.
pub const LATE_MS: u64 = 500;
/// The shortest `lost_after` that is accepted: two heartbeats.
pub const LOST_AFTER_MS_MIN: u64 = 1_000;

impl Default for Settings {
    fn default() -> Self {
        Settings { lost_after_ms: 3_000, lease_ms: 3_000, tick_ms: 100, traffic: Traffic::default() }
    }
}

impl Settings {
    /// A node that has said nothing for so long is suspect: last choice for requests, and gets no new replicas.
    #[must_use]
    pub fn suspect_ms(&self) -> u64 {
        (self.lost_after_ms / 2).min(1_000)
    }
}
