//! `ostler nodes`: where things can run.

use serde_json::Value;

use crate::client::Client;
use crate::command::json_line;
use crate::view::{self, Node, Status};
use crate::{output, table};

/// Show the nodes of the cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the nodes as a JSON array
    #[arg(long)]
    json: bool,
    /// How: `wide` shows the labels too
    #[arg(short, long, value_enum, value_name = "FORM", conflicts_with = "json")]
    output: Option<Form>,
}

/// How nodes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A table with the labels
    Wide,
    /// A JSON array
    Json,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let body = client.get("/status").await?.accepted()?;
    if args.json || args.output == Some(Form::Json) {
        let status: Value = view::read(client, &body)?;
        let nodes = status.get("nodes").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        return Ok(output::print_bytes(&json_line(nodes.to_string().as_bytes()))?);
    }
    let status: Status = view::read(client, &body)?;
    let text = if args.output == Some(Form::Wide) { render_wide(&status.nodes) } else { render(&status.nodes) };
    Ok(output::print(&text)?)
}

/// The table; without any node, what to do about that.
pub fn render(nodes: &[Node]) -> String {
    with_rows(nodes, &["NODE", "URL", "STATE", "REPLICAS", "DETAIL"], |node| vec![node.detail.clone()])
}

/// The same, with labels.
fn render_wide(nodes: &[Node]) -> String {
    with_rows(nodes, &["NODE", "URL", "STATE", "REPLICAS", "LABELS", "DETAIL"], |node| vec![node.labels(), node.detail.clone()])
}

fn with_rows(nodes: &[Node], header: &[&str], last: impl Fn(&Node) -> Vec<String>) -> String {
    if nodes.is_empty() {
        return "No nodes yet. Start an agent on a host, then: ostler add-node http://HOST:9091\n".to_owned();
    }
    let first = |node: &Node| vec![node.name.clone(), node.url.clone(), node.state.clone(), node.replicas.to_string()];
    table::render(header, nodes.iter().map(|node| [first(node), last(node)].concat()))
}
