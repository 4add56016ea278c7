//! `ostler scale`: how many replicas there should be.

use cluster::app::{AppName, COUNT_MAX};
use serde_json::json;

use crate::client::Client;
use crate::command::json_line;
use crate::failure::Usage;
use crate::output;
use crate::view::{self, App};

/// Say how many replicas of an app there should be.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "ostler scale [OPTIONS] [APP] COUNT",
    after_help = "\
Examples:
  ostler scale 4
  ostler scale worker 4
  ostler scale --app worker 4"
)]
pub struct Args {
    /// How many replicas, 0 to 1000000; the app's name may stand before it
    #[arg(num_args = 1..=2, required = true, value_name = "COUNT")]
    words: Vec<String>,
    /// The app
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Print the app as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let (app, count) = meant(&args.words, args.app.clone()).map_err(Usage)?;
    let mut call = json!({ "count": count });
    if let Some(app) = app {
        call["app"] = json!(app);
    }
    let body = client.post("/scale", call.to_string()).await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    let app: App = view::read(client, &body)?;
    let line = format!("{} should have {} (ready now: {})\n", app.name, replicas(app.desired), app.ready);
    Ok(output::print(&line)?)
}

/// `4`, `worker 4`, or `--app worker 4`.
fn meant(words: &[String], flag: Option<AppName>) -> Result<(Option<AppName>, u32), String> {
    let (app, count) = match (words, flag) {
        ([count], flag) => (flag, count),
        ([_, _], Some(_)) => return Err("the app is named twice: leave out --app, or the first word".to_owned()),
        ([app, count], None) => (Some(app.parse().map_err(|error: cluster::app::BadAppName| error.to_string())?), count),
        _ => return Err("say how many, as in `ostler scale 4`".to_owned()),
    };
    let number = count.parse().ok().filter(|number| *number <= COUNT_MAX);
    let number =
        number.ok_or_else(|| format!("\"{count}\" is not a count: use a whole number from 0 to {COUNT_MAX}, as in `ostler scale 4`"))?;
    Ok((app, number))
}

fn replicas(count: u64) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_count_may_stand_behind_its_app() {
        let worker: AppName = "worker".parse().unwrap();
        assert_eq!(meant(&words("4"), None), Ok((None, 4)));
        assert_eq!(meant(&words("worker 0"), None), Ok((Some(worker.clone()), 0)));
        assert_eq!(meant(&words("1000000"), Some(worker.clone())), Ok((Some(worker), 1_000_000)));
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in ["", "x", "-1", "4.0", "1000001", "worker x", "Worker 4", "4 worker"] {
            assert!(meant(&words(text), None).is_err(), "{text}");
        }
        assert!(meant(&words("worker 4"), Some("worker".parse().unwrap())).is_err());
    }
}
