//! The columns that `-o wide` has more than the others: labels, and what is used.

use crate::amount::{bytes, cores};
use crate::duration::uptime;
use crate::view::{Node, Replica};

/// Their heads, for replicas.
pub const OF_REPLICA: [&str; 8] = ["CPU", "CPU-TIME", "MEMORY", "FILES", "THREADS", "PROCESSES", "TREE", "LIMITS"];
/// Their heads, for nodes.
pub const OF_NODE: [&str; 6] = ["LABELS", "CPU", "CPU-TIME", "MEMORY", "LOAD", "UPTIME"];

/// What a replica uses, and what holds and limits it. What is not known is empty.
pub fn of_replica(replica: &Replica) -> Vec<String> {
    let mut cells = match &replica.usage {
        Some(usage) => vec![
            cores(usage.cpu_cores),
            uptime(usage.cpu_seconds),
            bytes(usage.memory_bytes),
            usage.open_files.to_string(),
            usage.threads.to_string(),
            usage.processes.to_string(),
        ],
        None => vec![String::new(); 6],
    };
    cells.push(replica.tree.clone().unwrap_or_default());
    let limit = |(name, said): (&String, &String)| if said == "enforced" { name.clone() } else { format!("{name}(not enforced)") };
    cells.push(replica.limits.iter().map(limit).collect::<Vec<_>>().join(" "));
    cells
}

/// What is said of a node's host, and what that uses, by whomever.
pub fn of_node(node: &Node) -> Vec<String> {
    let mut cells = vec![node.labels()];
    match &node.usage {
        Some(usage) => cells.extend([
            format!("{}/{}", cores(usage.cpu_cores), usage.cores),
            uptime(usage.cpu_seconds),
            format!("{}/{}", bytes(usage.memory_used_bytes), bytes(usage.memory_bytes)),
            format!("{:.2}", usage.load_1m),
            uptime(usage.uptime_seconds),
        ]),
        None => cells.extend(std::iter::repeat_n(String::new(), OF_NODE.len() - 1)),
    }
    cells
}
