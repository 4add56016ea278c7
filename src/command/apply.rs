//! `ostler apply`: what is in a spec is wanted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use cluster::App;

use crate::client::Client;
use crate::command::{json_line, spec_files};
use crate::output;
use crate::view::{self, Applied};

/// Apply specs of apps: make each app, or change it to what its spec says.
///
/// If what its replicas are run with has changed, they are replaced one after another; any other change restarts nothing. A count that was set
/// by `ostler scale` stays, unless the spec asks for another number than before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
If one of the specs cannot be read, nothing is changed at all. Of specs that are good, each is applied by itself.

Examples:
  ostler apply shop.toml
  ostler apply --revision 3 shop.toml
  ostler apply apps/")]
pub struct Args {
    /// Files, and directories of which all *.toml are applied; "-" is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only if the app has this revision; 0: only if there is no such app
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Print the controller's answers, in JSON, a line each
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let apps = spec_files::apps(&args.files)?;
    if args.revision.is_some() && apps.len() > 1 {
        bail!("--revision is of one app, and these are {} specs; apply them one by one", apps.len());
    }
    let mut named = BTreeMap::new();
    for (file, app) in &apps {
        if let Some(other) = named.insert(&app.name, file) {
            bail!("{other} and {file} are both called {}; nothing was changed", app.name);
        }
    }
    let mut refused = 0;
    for (file, app) in &apps {
        let query = args.revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
        match put(client, app, &query).await {
            Ok(body) if args.json => output::print_bytes(&json_line(&body))?,
            Ok(body) => output::print(&sentence(app, &view::read(client, &body)?))?,
            // Nobody there: the others would not be either.
            Err(error @ crate::client::Error::Refused { .. }) if apps.len() > 1 => {
                refused += 1;
                output::complain(&output::printable(&format!("{file}: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if refused > 0 {
        bail!("{refused} of {} specs were refused; the others are applied", apps.len());
    }
    Ok(())
}

/// Applies a spec, and returns the answer's body.
pub async fn put(client: &Client, app: &App, query: &str) -> Result<bytes::Bytes, crate::client::Error> {
    client.put(&format!("/v1/apps/{}{query}", app.name), spec::render_json(app).to_string()).await?.accepted()
}

fn sentence(wanted: &App, applied: &Applied) -> String {
    let name = &wanted.name;
    let Some(app) = &applied.app else { return format!("{name}: {}\n", applied.change) };
    let count = match app.desired {
        1 => "1 replica".to_owned(),
        count => format!("{count} replicas"),
    };
    let scaled = if app.count_from == "scale" { format!(" (scaled; its spec says {})", app.spec_replicas) } else { String::new() };
    let what = match (applied.change.as_str(), applied.restarts) {
        ("changed", true) => "changed; its replicas are replaced one after another",
        ("changed", false) => "changed; nothing is restarted",
        (other, _) => other,
    };
    format!("{name}: {what}: revision {}, {count}{scaled}\n", app.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view;

    #[test]
    fn what_was_applied_is_told_with_its_count_and_what_it_restarts() {
        let app = view::App {
            name: "worker".to_owned(),
            revision: 2,
            desired: 9,
            count_from: "scale".to_owned(),
            spec_replicas: 3,
            ..view::App::default()
        };
        let applied = Applied { change: "changed".to_owned(), restarts: true, app: Some(app.clone()) };
        assert_eq!(
            sentence(&App::builtin(), &applied),
            "worker: changed; its replicas are replaced one after another: revision 2, 9 replicas (scaled; its spec says 3)\n"
        );
        let app = view::App { desired: 1, count_from: "spec".to_owned(), ..app };
        let applied = Applied { change: "unchanged".to_owned(), restarts: false, app: Some(app) };
        assert_eq!(sentence(&App::builtin(), &applied), "worker: unchanged: revision 2, 1 replica\n");
    }
}
