//! `GET /metrics`: what Prometheus reads (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

use cluster::app::AppName;
use cluster::usage::{HostUsage, ReplicaUsage};

use crate::artifact::Counts;
use crate::check::Meters;

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Replicas by phase.
    pub replicas: BTreeMap<String, u64>,
    /// Starts of a process, the first of each replica and the later ones.
    pub starts_total: u64,
    /// Processes that ended without being told to, or could not be started.
    pub failures_total: u64,
    /// Guardians that ended by themselves.
    pub guardians_ended_total: u64,
    /// Readers of `/v1/observe`.
    pub observers: u64,
    /// Readers that were cut off.
    pub observers_cut_total: u64,
    /// Assignments that were refused.
    pub refused_total: u64,
    /// Bytes of output that could not be kept.
    pub log_dropped_bytes_total: u64,
    /// Artifacts.
    pub artifacts: Counts,
    /// Health checks.
    pub checks: Meters,
    /// The name of this node.
    pub node: String,
    /// What its host uses, where that is known.
    pub host: Option<HostUsage>,
    /// What its replicas use.
    pub usage: Vec<(AppName, ReplicaUsage)>,
}

/// Name, kind, help and value of a family of figures.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> String);

impl Figures {
    /// As text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        header(&mut text, "ostler_agent_replicas", "gauge", "Replicas of this agent by phase.");
        for phase in ["starting", "running", "draining", "backoff", "stopping", "stopped"] {
            let count = self.replicas.get(phase).copied().unwrap_or(0);
            let _ = writeln!(text, "ostler_agent_replicas{{phase=\"{phase}\"}} {count}");
        }
        let single = [
            ("ostler_agent_starts_total", "counter", "Starts of a replica's process.", self.starts_total),
            ("ostler_agent_failures_total", "counter", "Attempts that failed.", self.failures_total),
            ("ostler_agent_guardians_ended_total", "counter", "Guardians that ended by themselves.", self.guardians_ended_total),
            ("ostler_agent_observers", "gauge", "Readers of /v1/observe.", self.observers),
            ("ostler_agent_observers_cut_total", "counter", "Readers that were cut off.", self.observers_cut_total),
            ("ostler_agent_assignments_refused_total", "counter", "Assignments that were refused.", self.refused_total),
            (
                "ostler_agent_log_dropped_bytes_total",
                "counter",
                "Bytes that replicas wrote and the disk did not take.",
                self.log_dropped_bytes_total,
            ),
            ("ostler_agent_artifacts_made_total", "counter", "Artifacts downloaded and unpacked.", self.artifacts.made_total),
            ("ostler_agent_artifact_failures_total", "counter", "Artifacts that could not be made ready.", self.artifacts.failed_total),
            ("ostler_agent_artifact_downloaded_bytes_total", "counter", "Bytes of artifacts downloaded.", self.artifacts.bytes_total),
            ("ostler_agent_artifact_cache_bytes", "gauge", "Bytes in the cache of artifacts.", self.artifacts.cache_bytes),
        ];
        for (name, kind, help, value) in single {
            header(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        self.checks.render(&mut text);
        self.render_usage(&mut text);
        text
    }

    /// By the names that the controller has for them too: who scrapes both has each series twice, told apart by its job.
    fn render_usage(&self, text: &mut String) {
        let node = escaped(&self.node);
        let of_replica: [Family<ReplicaUsage>; 5] = [
            ("cpu_seconds_total", "counter", "Processor time of the replica's present attempt.", |of| seconds(of.uses.cpu_ms)),
            ("memory_bytes", "gauge", "Resident memory of the replica's processes.", |of| of.uses.memory_bytes.to_string()),
            ("open_files", "gauge", "Open files of the replica's processes.", |of| of.uses.open_files.to_string()),
            ("threads", "gauge", "Threads of the replica's processes.", |of| of.uses.threads.to_string()),
            ("processes", "gauge", "Processes of the replica.", |of| of.uses.processes.to_string()),
        ];
        for (name, kind, help, value) in of_replica {
            header(text, &format!("ostler_replica_{name}"), kind, help);
            for (app, of) in &self.usage {
                let _ = writeln!(text, "ostler_replica_{name}{{app=\"{app}\",replica=\"{}\",node=\"{node}\"}} {}", of.id, value(of));
            }
        }
        let of_node: [Family<HostUsage>; 5] = [
            ("cpu_seconds_total", "counter", "Time that the host's processors were busy, all together.", |host| seconds(host.cpu_ms)),
            ("memory_used_bytes", "gauge", "Memory of the host that a new program could not have.", |host| {
                host.memory_used_bytes.to_string()
            }),
            ("memory_bytes", "gauge", "All memory of the host.", |host| host.memory_bytes.to_string()),
            ("load1", "gauge", "Load average of the host over one minute.", |host| seconds(host.load_milli)),
            ("uptime_seconds", "gauge", "How long ago the host was started.", |host| seconds(host.uptime_ms)),
        ];
        for (name, kind, help, value) in of_node {
            header(text, &format!("ostler_node_{name}"), kind, help);
            if let Some(host) = &self.host {
                let _ = writeln!(text, "ostler_node_{name}{{node=\"{node}\"}} {}", value(host));
            }
        }
    }
}

/// Thousandths as a decimal number.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// A label's value as it stands between quotes: whoever names a node may use any character.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use cluster::ReplicaId;
    use cluster::usage::Uses;

    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_with_a_number() {
        let mut figures = Figures { replicas: BTreeMap::from([("running".to_owned(), 3)]), starts_total: 5, ..Figures::default() };
        figures.checks.count("http", false, std::time::Duration::from_millis(1_500));
        figures.node = "a \"b\"".to_owned();
        figures.host = Some(HostUsage { load_milli: 1_250, ..HostUsage::default() });
        let uses = Uses { cpu_ms: 2_005, memory_bytes: 7, ..Uses::default() };
        figures.usage = vec![(AppName::builtin(), ReplicaUsage { id: ReplicaId(5), attempt: 1, uses })];
        let text = figures.render();
        let labels = format!("{{app=\"worker\",replica=\"{}\",node=\"a \\\"b\\\"\"}}", ReplicaId(5));
        assert!(text.contains(&format!("\nostler_replica_cpu_seconds_total{labels} 2.005\n")), "{text}");
        assert!(text.contains(&format!("\nostler_replica_memory_bytes{labels} 7\n")), "{text}");
        assert!(text.contains("\nostler_node_load1{node=\"a \\\"b\\\"\"} 1.250\n"), "{text}");
        assert!(text.contains("\nostler_agent_checks_total{kind=\"http\",outcome=\"failed\"} 1\n"), "{text}");
        assert!(text.contains("\nostler_agent_check_duration_seconds_sum{kind=\"http\"} 1.5\n"), "{text}");
        assert!(text.contains("\nostler_agent_replicas{phase=\"running\"} 3\n") && text.contains("\nostler_agent_starts_total 5\n"));
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            assert!(line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "{line}");
        }
        assert!(text.ends_with('\n'));
    }
}
