//! `ostler logs`: what a replica wrote.

use anyhow::bail;

use crate::client::Client;
use crate::output;
use crate::signals::Signals;
use crate::view::{Replica, Status};

/// Show what a replica wrote to its stdout and stderr.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the replica as `ostler status` shows it, or a beginning or an end of it that no other has
    replica: String,
    /// Go on with what it writes from now on, until Ctrl+C
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    tail: u32,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    tokio::select! {
        biased;
        () = signals.next() => Ok(()),
        result = show(client, args) => result,
    }
}

async fn show(client: &Client, args: Args) -> anyhow::Result<()> {
    let status = Status::fetch(client).await?;
    let id = &the_one(&status.replicas, &args.replica)?.id;
    let follow = if args.follow { "&follow=true" } else { "" };
    let mut stream = client.open(&format!("/v1/replicas/{id}/logs?tail={}{follow}", args.tail)).await?;
    while let Some(bytes) = stream.next().await {
        output::print_bytes(&bytes?)?;
    }
    Ok(())
}

/// Ids of one moment begin alike (UUID v7 begins with the time), so an end will do as well as a beginning.
fn the_one<'a>(replicas: &'a [Replica], text: &str) -> anyhow::Result<&'a Replica> {
    let text = text.to_ascii_lowercase();
    let fits = |replica: &&Replica| !text.is_empty() && (replica.id.starts_with(&text) || replica.id.ends_with(&text));
    let mut fitting = replicas.iter().filter(fits);
    match (fitting.next(), fitting.count()) {
        (Some(replica), 0) => Ok(replica),
        (None, _) => bail!("no replica's id begins or ends with \"{text}\": `ostler status` lists them"),
        (Some(_), others) => bail!("{} replicas' ids begin or end with \"{text}\": give more of it", others + 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_beginning_or_an_end_that_is_unique_names_a_replica() {
        let replicas = ["0199-aa-01", "0199-aa-02", "0200-bb-02"].map(|id| Replica { id: id.to_owned(), ..Replica::default() });
        assert_eq!(the_one(&replicas, "02").unwrap_err().to_string(), "2 replicas' ids begin or end with \"02\": give more of it");
        assert_eq!(the_one(&replicas, "0199-AA-01").unwrap().id, "0199-aa-01");
        assert_eq!(the_one(&replicas, "0200").unwrap().id, "0200-bb-02");
        assert_eq!(the_one(&replicas, "1").unwrap().id, "0199-aa-01");
        for none in ["", "x", "99"] {
            assert!(the_one(&replicas, none).is_err(), "{none}");
        }
    }
}
