//! `ostler add-node`: tells the controller where an agent is.

use cluster::node_url::NodeUrl;
use serde_json::json;

use crate::client::Client;
use crate::command::{json_line, nodes};
use crate::format::Format;
use crate::{output, view};

/// Register a host, by the URL of its agent.
///
/// Registering it again changes nothing. An agent that does not answer yet is registered all the same, and used when it does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// URL of the agent, as in http://10.0.0.5:9091
    url: NodeUrl,
    /// Take the node from another cluster: what that one runs there is stopped
    #[arg(long)]
    take_over: bool,
    /// Print the node as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let mut call = json!({ "url": args.url });
    if args.take_over {
        call["take_over"] = json!(true);
    }
    let body = client.post("/add-node", call.to_string()).await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    Ok(output::print(&nodes::render(&[view::read(client, &body)?], Format::Table))?)
}
