//! `ostler remove-node`: takes a host out of the cluster.

use cluster::node_url::NodeUrl;
use serde_json::json;

use crate::client::Client;
use crate::command::json_line;
use crate::output;

/// Remove a host, by the URL of its agent. What runs there is replaced elsewhere, then stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// URL of the agent, as it was added
    url: NodeUrl,
    /// Print the controller's answer, in JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let body = client.post("/remove-node", json!({ "url": args.url }).to_string()).await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    Ok(output::print(&format!("{} is removed; what ran there moves to other nodes.\n", args.url))?)
}
