//! `ostler delete`: an app is wanted no more.

use cluster::AppName;

use crate::client::Client;
use crate::command::json_line;
use crate::output;

/// Delete an app. Its replicas finish their requests, then stop.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app
    app: AppName,
    /// Only if it has this revision
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Print the app as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let query = args.revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
    let body = client.delete(&format!("/v1/apps/{}{query}", args.app)).await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    Ok(output::print(&format!("{} is deleted; what runs of it finishes its requests and stops.\n", args.app))?)
}
