//! `ostler apps`: what is wanted, where that comes from, and what is wrong with it.

use serde_json::Value;

use crate::client::Client;
use crate::command::json_line;
use crate::view::{self, App, Source, Status};
use crate::{output, table};

/// Show the apps: where each comes from, how many replicas are wanted by which rule, and what is wrong with its file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the spec of this app instead, in TOML
    #[arg(value_name = "APP")]
    app: Option<cluster::AppName>,
    /// Print JSON: the apps as an array, or the app's spec as an object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    if let Some(name) = &args.app {
        let body = client.get(&format!("/v1/apps/{name}/spec")).await?.accepted()?;
        if args.json {
            return Ok(output::print_bytes(&json_line(&body))?);
        }
        let app = spec::parse(&body, &format!("the spec of {name}"), spec::Format::Json)?;
        return Ok(output::print(&spec::render(&app))?);
    }
    let body = client.get("/status").await?.accepted()?;
    if args.json {
        let status: Value = view::read(client, &body)?;
        let apps = status.get("apps").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        return Ok(output::print_bytes(&json_line(apps.to_string().as_bytes()))?);
    }
    Ok(output::print(&render(&view::read(client, &body)?))?)
}

/// The table, and below it what is wrong.
pub fn render(status: &Status) -> String {
    let mut text = if status.apps.is_empty() {
        "No apps yet. Write a spec, then: ostler apply FILE\n".to_owned()
    } else {
        let header = ["APP", "REVISION", "DESIRED", "COUNT FROM", "READY", "SOURCE", "STATE"];
        table::render(&header, status.apps.iter().map(row))
    };
    for app in &status.apps {
        if !app.source_error.is_empty() {
            text.push_str(&format!("{}: {}\n", output::printable(&app.name), output::printable(&app.source_error)));
        }
    }
    if let Some(source) = &status.source {
        text.push_str(&of_source(source, &status.apps));
    }
    text
}

fn row(app: &App) -> Vec<String> {
    let state = match app {
        app if app.deleting => "deleting",
        app if !app.source_error.is_empty() => "file has an error",
        app if app.ready < app.desired => "waiting",
        _ => "",
    };
    vec![
        app.name.clone(),
        app.revision.to_string(),
        app.desired.to_string(),
        app.count_from.clone(),
        app.ready.to_string(),
        app.source.clone(),
        state.to_owned(),
    ]
}

/// What is wrong with the source, and with those of its files that are not told of as an app's.
fn of_source(source: &Source, apps: &[App]) -> String {
    let mut text = String::new();
    if !source.error.is_empty() {
        text.push_str(&format!(
            "{} cannot be read: {}; what runs runs on\n",
            output::printable(&source.url),
            output::printable(&source.error)
        ));
    }
    for fault in source.errors.iter().filter(|fault| apps.iter().all(|app| app.source_error != fault.error)) {
        text.push_str(&format!("{} changes nothing: {}\n", output::printable(&fault.file), output::printable(&fault.error)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::SourceError;

    #[test]
    fn an_app_is_shown_with_its_source_and_the_rule_of_its_count() {
        let shop = App {
            name: "shop".to_owned(),
            revision: 3,
            desired: 4,
            ready: 4,
            count_from: "scale".to_owned(),
            source: "s3://apps/shop.toml".to_owned(),
            ..App::default()
        };
        let db = App {
            name: "db".to_owned(),
            source_error: "db.toml:1:1: no".to_owned(),
            source: "s3://apps/db.toml".to_owned(),
            ..shop.clone()
        };
        let fault = |file: &str, error: &str| SourceError { file: file.to_owned(), error: error.to_owned() };
        let source = Source {
            url: "s3://apps".to_owned(),
            error: "no such bucket".to_owned(),
            errors: vec![fault("db.toml", "db.toml:1:1: no"), fault("new.toml", "new.toml:2:1: no")],
        };
        let text = render(&Status { apps: vec![shop, db], source: Some(source), ..Status::default() });
        assert_eq!(
            text,
            "\
APP   REVISION  DESIRED  COUNT FROM  READY  SOURCE               STATE
shop  3         4        scale       4      s3://apps/shop.toml  -
db    3         4        scale       4      s3://apps/db.toml    file has an error
db: db.toml:1:1: no
s3://apps cannot be read: no such bucket; what runs runs on
new.toml changes nothing: new.toml:2:1: no
"
        );
        assert!(render(&Status::default()).contains("ostler apply"));
    }
}
