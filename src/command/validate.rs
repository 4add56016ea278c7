//! `ostler validate`: whether specs can be taken. Asks no controller.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use cluster::rule::conflicts;
use cluster::{App, AppName};
use spec::{Format, SPEC_BYTES_MAX};

use crate::output;

/// The deepest directory below one that is named.
const DEPTH_MAX: usize = 16;

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

/// A spec that is to be checked.
struct Found {
    name: String,
    format: Format,
    bytes: io::Result<Vec<u8>>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut good: BTreeMap<AppName, (App, String)> = BTreeMap::new();
    let mut complaints = Vec::new();
    let mut bad = 0;
    let mut all = 0;
    for found in args.files.iter().map(|path| find(path)).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten() {
        all += 1;
        let Found { name, format, bytes } = found;
        let app = match bytes.map_err(|error| format!("{name}: it cannot be read: {error}\n")) {
            Ok(bytes) => spec::parse(&bytes, &name, format).map_err(|error| error.report()),
            Err(error) => Err(error),
        };
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

/// The specs that a word of the command line names.
fn find(path: &Path) -> anyhow::Result<Vec<Found>> {
    if path == Path::new("-") {
        let bytes = read(io::stdin().lock());
        let is_json = bytes.as_ref().is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"{"));
        return Ok(vec![Found { name: "stdin".to_owned(), format: if is_json { Format::Json } else { Format::Toml }, bytes }]);
    }
    if !path.is_dir() {
        return Ok(vec![file(path)]);
    }
    let mut paths = Vec::new();
    collect(path, 0, &mut paths)?;
    if paths.is_empty() {
        bail!("there is no *.toml in {} or below; name a file or another directory", path.display());
    }
    paths.sort();
    Ok(paths.iter().map(|path| file(path)).collect())
}

fn collect(directory: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = |error: io::Error| anyhow!("the directory {} cannot be read: {error}", directory.display());
    if depth > DEPTH_MAX {
        bail!("{} is more than {DEPTH_MAX} directories deep; name it by itself", directory.display());
    }
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        // A link to a directory is not followed: it may lead back to where it is.
        if entry.file_type().map_err(unreadable)?.is_dir() {
            collect(&path, depth + 1, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    Ok(())
}

fn file(path: &Path) -> Found {
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let format = if is_json { Format::Json } else { Format::Toml };
    Found { name: path.display().to_string(), format, bytes: File::open(path).and_then(read) }
}

/// One byte more than a spec may have is enough to refuse it.
fn read(source: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(SPEC_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
