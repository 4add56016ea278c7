//! `ostler nodes`: where things can run.

use serde_json::Value;

use crate::client::Client;
use crate::command::{json_line, wide};
use crate::format::{Format, FormatArgs};
use crate::view::{self, Node, Status};
use crate::{output, table};

/// Show the nodes of the cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let body = client.get("/status").await?.accepted()?;
    let format = args.format.format();
    if format == Format::Json {
        let status: Value = view::read(client, &body)?;
        let nodes = status.get("nodes").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        return Ok(output::print_bytes(&json_line(nodes.to_string().as_bytes()))?);
    }
    let status: Status = view::read(client, &body)?;
    Ok(output::print(&render(&status.nodes, format))?)
}

/// The table; without any node, what to do about that.
pub fn render(nodes: &[Node], format: Format) -> String {
    if nodes.is_empty() {
        return "No nodes yet. Start an agent on a host, then: ostler add-node http://HOST:9091\n".to_owned();
    }
    let rows = nodes.iter().map(|node| {
        let mut cells = vec![node.name.clone(), node.url.clone(), node.state.clone(), node.replicas.to_string()];
        if format == Format::Wide {
            cells.extend(wide::of_node(node));
        }
        cells.push(node.detail.clone());
        cells
    });
    let mut header = vec!["NODE", "URL", "STATE", "REPLICAS"];
    if format == Format::Wide {
        header.extend(wide::OF_NODE);
    }
    header.push("DETAIL");
    table::render(&header, rows)
}
