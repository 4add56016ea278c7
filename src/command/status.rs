//! `ostler status`: the cluster map.

use crate::client::Client;
use crate::command::{json_line, nodes, wide};
use crate::duration::uptime;
use crate::format::{Format, FormatArgs};
use crate::output;
use crate::table;
use crate::view::{self, Status};

/// Show what should run, what runs, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let body = client.get("/status").await?.accepted()?;
    match args.format.format() {
        Format::Json => Ok(output::print_bytes(&json_line(&body))?),
        format => Ok(output::print(&render(&view::read(client, &body)?, format))?),
    }
}

/// Apps, nodes and replicas, a table each.
pub fn render(status: &Status, format: Format) -> String {
    let mut text = apps(status);
    text.push('\n');
    text.push_str(&nodes::render(&status.nodes, format));
    if !status.replicas.is_empty() {
        text.push('\n');
        text.push_str(&replicas(status, format));
    }
    text
}

fn apps(status: &Status) -> String {
    let rows = status.apps.iter().map(|app| {
        let counts = [app.revision, app.desired, app.running, app.ready].map(|count| count.to_string());
        [vec![app.name.clone()], counts.to_vec()].concat()
    });
    let mut text = table::render(&["APP", "REVISION", "DESIRED", "RUNNING", "READY"], rows);
    for app in &status.apps {
        for sentence in &app.waiting {
            text.push_str(&format!("{} waits: {}\n", output::printable(&app.name), output::printable(sentence)));
        }
    }
    text
}

/// The replicas, by node.
pub fn replicas(status: &Status, format: Format) -> String {
    let mut replicas: Vec<&view::Replica> = status.replicas.iter().collect();
    replicas.sort_by_key(|replica| (&replica.app, &replica.node, &replica.id));
    let rows = replicas.into_iter().map(|replica| {
        let mut cells = vec![
            replica.id.clone(),
            format!("{}@{}", replica.app, replica.revision),
            status.node_name(replica).to_owned(),
            replica.state.clone(),
            if replica.ready { "yes" } else { "no" }.to_owned(),
            replica.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            replica.port.map(|port| port.to_string()).unwrap_or_default(),
            replica.uptime_seconds.map(uptime).unwrap_or_default(),
            replica.restarts.to_string(),
        ];
        if format == Format::Wide {
            cells.extend(wide::of_replica(replica));
        }
        cells.push(replica.detail.clone());
        cells
    });
    let mut header = vec!["REPLICA", "APP", "NODE", "STATE", "READY", "PID", "PORT", "UPTIME", "RESTARTS"];
    if format == Format::Wide {
        header.extend(wide::OF_REPLICA);
    }
    header.push("DETAIL");
    table::render(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{App, HostUsage, Node, Replica, Usage};

    #[test]
    fn the_map_shows_apps_nodes_replicas_and_what_waits() {
        let waiting = vec!["no node is ready".to_owned()];
        let app = App { name: "worker".to_owned(), revision: 1, desired: 2, running: 1, ready: 1, waiting };
        let node = Node { url: "http://a:1".to_owned(), name: "a".to_owned(), state: "ready".to_owned(), replicas: 1, ..Node::default() };
        let replica = Replica {
            id: "0199".to_owned(),
            app: "worker".to_owned(),
            revision: 1,
            node: "http://a:1".to_owned(),
            state: "running".to_owned(),
            ready: true,
            pid: Some(7),
            port: Some(4),
            uptime_seconds: Some(75.2),
            ..Replica::default()
        };
        let status = Status { apps: vec![app], nodes: vec![node], replicas: vec![replica] };
        assert_eq!(
            render(&status, Format::Table),
            "\
APP     REVISION  DESIRED  RUNNING  READY
worker  1         2        1        1
worker waits: no node is ready

NODE  URL         STATE  REPLICAS  DETAIL
a     http://a:1  ready  1         -

REPLICA  APP       NODE  STATE    READY  PID  PORT  UPTIME  RESTARTS  DETAIL
0199     worker@1  a     running  yes    7    4     1m15s   0         -
"
        );
    }

    #[test]
    fn a_wide_map_shows_what_is_used_where_that_is_known() {
        let replica = Replica {
            id: "0199".to_owned(),
            app: "worker".to_owned(),
            tree: Some("cgroup".to_owned()),
            limits: [("cpu".to_owned(), "enforced".to_owned()), ("pids".to_owned(), "not enforced: no".to_owned())].into(),
            usage: Some(Usage { cpu_seconds: 75.0, cpu_cores: 0.25, memory_bytes: 3 << 20, open_files: 9, threads: 4, processes: 2 }),
            ..Replica::default()
        };
        let host = HostUsage {
            cpu_seconds: 7_200.0,
            cpu_cores: 1.5,
            cores: 2,
            memory_used_bytes: 1 << 30,
            memory_bytes: 4 << 30,
            load_1m: 0.5,
            uptime_seconds: 90_000.0,
        };
        let node = |name: &str, usage| Node { name: name.to_owned(), usage, ..Node::default() };
        let (busy, unknown) = (node("a", Some(host)), node("b", None));
        let status = Status { apps: vec![], nodes: vec![busy, unknown], replicas: vec![replica, Replica::default()] };
        let text = render(&status, Format::Wide);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let after = |row: usize, count: usize| words[row].iter().rev().take(count).rev().copied().collect::<Vec<_>>();
        assert_eq!(after(2, 6), ["CPU", "CPU-TIME", "MEMORY", "LOAD", "UPTIME", "DETAIL"]);
        assert_eq!(after(3, 6), ["1.50/2", "2h00m", "1.0GiB/4.0GiB", "0.50", "1d01h", "-"]);
        assert_eq!(after(4, 6), ["-"; 6]);
        assert_eq!(after(6, 9), ["CPU", "CPU-TIME", "MEMORY", "FILES", "THREADS", "PROCESSES", "TREE", "LIMITS", "DETAIL"]);
        assert!(text.contains("  0.25  1m15s     3.0MiB  9      4        2          cgroup  cpu pids(not enforced)  -\n"), "{text}");
    }

    #[test]
    fn an_empty_cluster_says_what_to_do() {
        assert!(render(&Status::default(), Format::Table).contains("ostler add-node"));
    }
}
