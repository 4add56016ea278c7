//! What is used, as the API shows it: to people as JSON, to Prometheus as text.

use std::collections::BTreeMap;

use cluster::usage::{HostUsage, Uses};
use serde::Serialize;
use utoipa::ToSchema;

use super::exposition::{escaped, family, line};
use super::view::{Replica, Status};

/// What all processes of a replica's present attempt use together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ReplicaUsage)]
pub struct Usage {
    /// Processor time so far, in seconds.
    #[schema(example = 4.25)]
    pub cpu_seconds: f64,
    /// Processors that they kept busy over the last second.
    #[schema(example = 0.1)]
    pub cpu_cores: f64,
    /// Resident memory; pages that several of them share count for each.
    #[schema(example = 3_670_016)]
    pub memory_bytes: u64,
    /// Open files.
    #[schema(example = 9)]
    pub open_files: u64,
    /// Threads.
    #[schema(example = 1)]
    pub threads: u64,
    /// Processes.
    #[schema(example = 1)]
    pub processes: u64,
}

/// What a node's host uses, by whomever.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = NodeUsage)]
pub struct NodeUsage {
    /// Time that its processors were busy since it was started, all together, in seconds.
    #[schema(example = 86_400.5)]
    pub cpu_seconds: f64,
    /// Processors that were busy over the last second.
    #[schema(example = 0.5)]
    pub cpu_cores: f64,
    /// Processors that it has.
    #[schema(example = 2)]
    pub cores: u32,
    /// Memory that a new program could not have.
    #[schema(example = 1_073_741_824)]
    pub memory_used_bytes: u64,
    /// All of its memory.
    #[schema(example = 4_294_967_296_u64)]
    pub memory_bytes: u64,
    /// Its load average over one minute.
    #[schema(example = 0.25)]
    pub load_1m: f64,
    /// How long ago it was started, in seconds.
    #[schema(example = 172_800.0)]
    pub uptime_seconds: f64,
}

#[allow(clippy::cast_precision_loss)]
fn thousandth(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

impl From<Uses> for Usage {
    fn from(uses: Uses) -> Self {
        Usage {
            cpu_seconds: thousandth(uses.cpu_ms),
            cpu_cores: thousandth(uses.cpu_milli),
            memory_bytes: uses.memory_bytes,
            open_files: uses.open_files,
            threads: uses.threads,
            processes: uses.processes,
        }
    }
}

impl NodeUsage {
    /// Of a host with so many processors.
    pub fn new(uses: HostUsage, cores: u32) -> Self {
        NodeUsage {
            cpu_seconds: thousandth(uses.cpu_ms),
            cpu_cores: thousandth(uses.cpu_milli),
            cores,
            memory_used_bytes: uses.memory_used_bytes,
            memory_bytes: uses.memory_bytes,
            load_1m: thousandth(uses.load_milli),
            uptime_seconds: thousandth(uses.uptime_ms),
        }
    }
}

/// Name, kind, help and value of a family with one series for each replica.
type OfReplica = (&'static str, &'static str, &'static str, fn(&Usage) -> f64);

#[allow(clippy::cast_precision_loss)]
const OF_REPLICA: [OfReplica; 5] = [
    ("ostler_replica_cpu_seconds_total", "counter", "Processor time of the replica's present attempt.", |usage| usage.cpu_seconds),
    ("ostler_replica_memory_bytes", "gauge", "Resident memory of the replica's processes.", |usage| usage.memory_bytes as f64),
    ("ostler_replica_open_files", "gauge", "Open files of the replica's processes.", |usage| usage.open_files as f64),
    ("ostler_replica_threads", "gauge", "Threads of the replica's processes.", |usage| usage.threads as f64),
    ("ostler_replica_processes", "gauge", "Processes of the replica.", |usage| usage.processes as f64),
];

/// As above, for each node.
type OfNode = (&'static str, &'static str, &'static str, fn(&NodeUsage) -> f64);

#[allow(clippy::cast_precision_loss)]
const OF_NODE: [OfNode; 5] = [
    ("ostler_node_cpu_seconds_total", "counter", "Time that the host's processors were busy, all together.", |usage| usage.cpu_seconds),
    ("ostler_node_memory_used_bytes", "gauge", "Memory of the host that a new program could not have.", |usage| {
        usage.memory_used_bytes as f64
    }),
    ("ostler_node_memory_bytes", "gauge", "All memory of the host.", |usage| usage.memory_bytes as f64),
    ("ostler_node_load1", "gauge", "Load average of the host over one minute.", |usage| usage.load_1m),
    ("ostler_node_uptime_seconds", "gauge", "How long ago the host was started.", |usage| usage.uptime_seconds),
];

/// Writes what is known of each replica and each node.
pub fn write(out: &mut String, status: &Status) {
    let names: BTreeMap<&str, &str> = status.nodes.iter().map(|node| (node.url.as_str(), node.name.as_str())).collect();
    let labels = |replica: &Replica| {
        let node = names.get(replica.node.as_str()).copied().unwrap_or(&replica.node);
        format!("app=\"{}\",replica=\"{}\",node=\"{}\"", replica.app, replica.id, escaped(node))
    };
    for (name, kind, help, value) in OF_REPLICA {
        family(out, name, kind, help);
        for replica in &status.replicas {
            if let Some(usage) = &replica.usage {
                line(out, &format!("{name}{{{}}}", labels(replica)), value(usage));
            }
        }
    }
    let name = "ostler_replica_uptime_seconds";
    family(out, name, "gauge", "How long the replica's process has been running.");
    for replica in status.replicas.iter().filter(|replica| replica.pid.is_some()) {
        line(out, &format!("{name}{{{}}}", labels(replica)), replica.uptime_seconds);
    }
    for (name, kind, help, value) in OF_NODE {
        family(out, name, kind, help);
        for node in &status.nodes {
            if let Some(usage) = &node.usage {
                line(out, &format!("{name}{{node=\"{}\"}}", escaped(&node.name)), value(usage));
            }
        }
    }
}
