//! `ostler validate`: whether specs can be taken. Asks no controller.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use cluster::rule::conflicts;
use cluster::{App, AppName};

use crate::command::spec_files;
use crate::output;

/// Check specs of apps: in TOML, or in JSON where a file is called so. Needs no controller.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All of them together must fit: no two apps of one name, and none that claim the same requests.

Examples:
  ostler validate shop.toml
  ostler validate apps/")]
pub struct Args {
    /// Files, and directories of which all *.toml are checked; "-" is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut good: BTreeMap<AppName, (App, String)> = BTreeMap::new();
    let mut complaints = Vec::new();
    let mut bad = 0;
    let mut all = 0;
    for found in spec_files::find_all(&args.files)? {
        all += 1;
        let app = found.app();
        let name = found.name;
        match app {
            Ok(app) => {
                let replicas = if app.replicas == 1 { "replica" } else { "replicas" };
                output::print(&format!("{}: good: {} {replicas} of {}\n", output::printable(&name), app.replicas, app.name))?;
                if let Some((_, other)) = good.get(&app.name) {
                    complaints.push(format!("{other} and {name} are both called {}; give one of them another name", app.name));
                } else {
                    good.insert(app.name.clone(), (app, name));
                }
            }
            Err(report) => {
                bad += 1;
                output::complain(report.trim_end());
            }
        }
    }
    complaints.extend(conflicts(good.values().map(|(app, _)| app)));
    for complaint in &complaints {
        output::complain(&output::printable(complaint));
    }
    match (bad, complaints.len()) {
        (0, 0) => Ok(()),
        (0, _) => bail!("the specs are good, and do not fit together"),
        _ => bail!("{bad} of {all} {} cannot be taken", if all == 1 { "spec" } else { "specs" }),
    }
}
