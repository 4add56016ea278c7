//! What replicas and hosts use: an agent reads it, a controller shows it. No decision reads any of it.
//!
//! Absent from here: how it is read. Figures are integers, so that what did not change is equal and need not be said again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ReplicaId;
use crate::node::Observed;

/// How often an agent reads what each of its replicas uses, in milliseconds.
pub const USAGE_EVERY_MS: u64 = 1_000;

/// What is new about usage: a neighbour of what a line of observations says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The host's, where it was read anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostUsage>,
    /// Beside a snapshot: of all replicas of which it is known. Else of those of which it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaUsage>,
}

impl Usage {
    /// It says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.replicas.is_empty()
    }
}

/// What all processes of one attempt of a replica use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaUsage {
    /// Which replica.
    pub id: ReplicaId,
    /// Which attempt of it.
    pub attempt: u32,
    /// What they use.
    #[serde(flatten)]
    pub uses: Uses,
}

/// What some processes use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uses {
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
    /// Processors that they kept busy between the last two looks, in thousandths.
    pub cpu_milli: u64,
    /// Resident memory in bytes: pages that several of them share count for each.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
}

/// What a whole host uses, by whomever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostUsage {
    /// Time that its processors were busy since it was started, all together, in milliseconds.
    pub cpu_ms: u64,
    /// Processors that were busy between the last two looks, in thousandths.
    pub cpu_milli: u64,
    /// Memory that a new program could not have, in bytes.
    pub memory_used_bytes: u64,
    /// All of its memory, in bytes.
    pub memory_bytes: u64,
    /// Its load average over one minute, in thousandths.
    pub load_milli: u64,
    /// How long ago it was started, in milliseconds.
    pub uptime_ms: u64,
}

/// What a node said last of what is used there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUsage {
    host: Option<(HostUsage, u64)>,
    replicas: BTreeMap<ReplicaId, ReplicaUsage>,
}

impl NodeUsage {
    /// Takes in what a line says, at `now_ms` on the controller's monotonic clock. What is said of a replica that is not among
    /// `observed` is dropped, so that no node can make a controller remember more than it runs.
    pub fn take(&mut self, usage: Usage, observed: &BTreeMap<ReplicaId, Observed>, now_ms: u64) {
        if let Some(host) = usage.host {
            self.host = Some((host, now_ms));
        }
        let known = usage.replicas.into_iter().filter(|replica| observed.contains_key(&replica.id));
        self.replicas.extend(known.map(|replica| (replica.id, replica)));
        if self.replicas.len() > observed.len() {
            self.replicas.retain(|id, _| observed.contains_key(id));
        }
    }

    /// Forgets the replicas: a snapshot says them anew.
    pub fn forget_replicas(&mut self) {
        self.replicas.clear();
    }

    /// What this attempt of a replica uses, where that is known.
    #[must_use]
    pub fn of(&self, id: ReplicaId, attempt: u32) -> Option<Uses> {
        self.replicas.get(&id).filter(|replica| replica.attempt == attempt).map(|replica| replica.uses)
    }

    /// What the host uses, its uptime as of `now_ms`.
    #[must_use]
    pub fn host(&self, now_ms: u64) -> Option<HostUsage> {
        self.host.map(|(host, at_ms)| HostUsage { uptime_ms: host.uptime_ms.saturating_add(now_ms.saturating_sub(at_ms)), ..host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::AppName;
    use crate::limits::Enforcement;
    use crate::wire::{ObservedPhase, ReplicaReport};

    fn observed(ids: &[u128]) -> BTreeMap<ReplicaId, Observed> {
        let report = |id| ReplicaReport {
            id,
            app: AppName::builtin(),
            revision: 1,
            attempt: 1,
            phase: ObservedPhase::Running,
            ready: true,
            pid: Some(1),
            port: Some(1),
            tree: None,
            limits: Enforcement::new(),
            age_ms: 0,
            restarts: 0,
            failures: 0,
            detail: String::new(),
            log_dropped_bytes: 0,
            finished: false,
            checks: vec![],
        };
        ids.iter().map(|id| ReplicaId(*id)).map(|id| (id, Observed { report: report(id), at_ms: 0 })).collect()
    }

    fn of(id: u128, cpu_ms: u64) -> ReplicaUsage {
        ReplicaUsage { id: ReplicaId(id), attempt: 1, uses: Uses { cpu_ms, ..Uses::default() } }
    }

    #[test]
    fn what_is_not_said_again_still_holds_and_another_attempt_has_none() {
        let mut usage = NodeUsage::default();
        usage.take(Usage { host: None, replicas: vec![of(1, 5), of(2, 6)] }, &observed(&[1, 2]), 0);
        usage.take(Usage { host: None, replicas: vec![of(2, 7)] }, &observed(&[1, 2]), 0);
        assert_eq!(usage.of(ReplicaId(1), 1).map(|uses| uses.cpu_ms), Some(5));
        assert_eq!(usage.of(ReplicaId(2), 1).map(|uses| uses.cpu_ms), Some(7));
        assert_eq!(usage.of(ReplicaId(2), 2), None);
    }

    #[test]
    fn no_more_is_remembered_than_the_node_runs() {
        let mut usage = NodeUsage::default();
        usage.take(Usage { host: None, replicas: vec![of(1, 5), of(9, 6)] }, &observed(&[1]), 0);
        assert_eq!(usage.replicas.len(), 1);
        usage.take(Usage { host: None, replicas: vec![of(2, 5)] }, &observed(&[2]), 0);
        assert_eq!(usage.replicas.keys().copied().collect::<Vec<_>>(), [ReplicaId(2)]);
    }

    #[test]
    fn a_host_grows_older_between_two_lines() {
        let mut usage = NodeUsage::default();
        assert_eq!(usage.host(7), None);
        let host = HostUsage { uptime_ms: 1_000, load_milli: 250, ..HostUsage::default() };
        usage.take(Usage { host: Some(host), replicas: vec![] }, &BTreeMap::new(), 10);
        assert_eq!(usage.host(510), Some(HostUsage { uptime_ms: 1_500, ..host }));
    }

    #[test]
    fn a_controller_that_does_not_know_usage_reads_the_rest_of_the_line() {
        #[derive(Deserialize)]
        struct OlderLine {
            seq: u64,
            #[serde(flatten)]
            news: crate::wire::News,
        }
        let news = crate::wire::News::Heartbeat(crate::wire::Heartbeat {});
        let usage = Some(Usage { host: Some(HostUsage::default()), replicas: vec![of(1, 2)] });
        let line = crate::wire::ObserveLine { instance: crate::InstanceId(1), seq: 7, applied: None, cluster: None, usage, news };
        let text = serde_json::to_string(&line).expect("it is plain data");
        assert_eq!(serde_json::from_str::<crate::wire::ObserveLine>(&text).expect("it is read"), line);
        let older: OlderLine = serde_json::from_str(&text).expect("it is read");
        assert_eq!((older.seq, older.news), (7, line.news));
    }

    #[test]
    fn a_newer_agent_may_say_more_and_an_older_one_less() {
        let id = ReplicaId(1);
        let text = format!(r#"{{"replicas":[{{"id":"{id}","attempt":1,"cpu_ms":3,"tomorrow":{{}}}}],"host":{{"cpu_ms":4}},"more":1}}"#);
        let usage: Usage = serde_json::from_str(&text).expect("it is read");
        assert_eq!(usage.replicas, [of(1, 3)]);
        assert_eq!(usage.host.map(|host| host.cpu_ms), Some(4));
        assert_eq!(serde_json::to_string(&Usage::default()).expect("it is plain data"), "{}");
    }
}
