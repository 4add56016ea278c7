//! `ostler status`: the cluster map.

use crate::client::Client;
use crate::command::{json_line, nodes};
use crate::duration::uptime;
use crate::output;
use crate::table;
use crate::view::{self, Status};

/// Show what should run, what runs, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the controller's own JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let body = client.get("/status").await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    Ok(output::print(&render(&view::read(client, &body)?))?)
}

/// Apps, nodes and replicas, a table each.
pub fn render(status: &Status) -> String {
    let mut text = apps(status);
    text.push('\n');
    text.push_str(&nodes::render(&status.nodes));
    if !status.replicas.is_empty() {
        text.push('\n');
        text.push_str(&replicas(status));
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
pub fn replicas(status: &Status) -> String {
    let mut replicas: Vec<&view::Replica> = status.replicas.iter().collect();
    replicas.sort_by_key(|replica| (&replica.app, &replica.node, &replica.id));
    let rows = replicas.into_iter().map(|replica| {
        vec![
            replica.id.clone(),
            format!("{}@{}", replica.app, replica.revision),
            status.node_name(replica).to_owned(),
            replica.state.clone(),
            if replica.ready { "yes" } else { "no" }.to_owned(),
            replica.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            replica.port.map(|port| port.to_string()).unwrap_or_default(),
            replica.uptime_seconds.map(uptime).unwrap_or_default(),
            replica.restarts.to_string(),
            replica.detail.clone(),
        ]
    });
    table::render(&["REPLICA", "APP", "NODE", "STATE", "READY", "PID", "PORT", "UPTIME", "RESTARTS", "DETAIL"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{App, Node, Replica};

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
        let text = render(&Status { apps: vec![app], nodes: vec![node], replicas: vec![replica] });
        assert_eq!(
            text,
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
    fn an_empty_cluster_says_what_to_do() {
        assert!(render(&Status::default()).contains("ostler add-node"));
    }
}
