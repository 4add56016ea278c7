//! `ostler logs`: what a replica wrote.

use anyhow::bail;
use cluster::ReplicaId;
use cluster::logs::{Query, Since};

use crate::client::Client;
use crate::output;
use crate::signals::Signals;
use crate::view::{Replica, Status};

/// Show what a replica wrote to its stdout and stderr.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the replica as `ostler status` shows it, or a beginning or an end of it that no other has; the whole id of one that is gone
    replica: String,
    /// Go on with what it writes from now on, until Ctrl+C
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    tail: u32,
    /// Leave out what is older than this time (as in 2026-03-01T12:00:00Z), or than so long ago (as in 10m)
    #[arg(long, value_name = "TIME|DURATION", value_parser = Since::parse)]
    since: Option<Since>,
    /// Begin each line with its time and its stream
    #[arg(short, long)]
    timestamps: bool,
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
    let id = match args.replica.parse::<ReplicaId>() {
        // One that is gone is in no list, and its output may still be there.
        Ok(id) => id.to_string(),
        Err(_) => the_one(&Status::fetch(client).await?.replicas, &args.replica)?.id.clone(),
    };
    let Args { follow, since, timestamps, .. } = args;
    let query = Query { tail: Some(args.tail.into()), follow, since, timestamps, stream: None };
    let mut stream = client.open(&format!("/v1/replicas/{id}/logs?{query}")).await?;
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
        (None, _) => {
            bail!("no replica's id begins or ends with \"{text}\": `ostler status` lists them, and one that is gone needs its whole id")
        }
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
