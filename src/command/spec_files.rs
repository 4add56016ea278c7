//! Specs as a command line names them: files, directories, stdin.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use cluster::App;
use spec::{Format, SPEC_BYTES_MAX};

use crate::output;

/// The deepest directory below one that is named.
const DEPTH_MAX: usize = 16;

/// A spec, as it was found.
pub struct Found {
    /// What messages call it.
    pub name: String,
    format: Format,
    bytes: io::Result<Vec<u8>>,
}

impl Found {
    /// The app that it asks for.
    ///
    /// # Errors
    /// All that is wrong with it, on lines of its own.
    pub fn app(&self) -> Result<App, String> {
        match &self.bytes {
            Ok(bytes) => spec::parse(bytes, &self.name, self.format).map_err(|error| error.report()),
            Err(error) => Err(format!("{}: it cannot be read: {error}\n", self.name)),
        }
    }
}

/// The apps that all of these ask for, with the name of the spec of each.
///
/// # Errors
/// One of them cannot be taken: all that is wrong was told on stderr by then.
pub fn apps(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, App)>> {
    let found = find_all(paths)?;
    let mut apps = Vec::new();
    let mut bad = 0;
    for found in &found {
        match found.app() {
            Ok(app) => apps.push((found.name.clone(), app)),
            Err(report) => {
                bad += 1;
                output::complain(report.trim_end());
            }
        }
    }
    if bad > 0 {
        let specs = if found.len() == 1 { "spec" } else { "specs" };
        bail!("{bad} of {} {specs} cannot be taken; nothing was changed", found.len());
    }
    Ok(apps)
}

/// The specs that these words of a command line name.
///
/// # Errors
/// A directory cannot be read, or holds none.
pub fn find_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Found>> {
    Ok(paths.iter().map(|path| find(path)).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
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
    Ok(paths.iter().map(|path| file_below(path)).collect())
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

/// What was found in a directory, where nobody meant a pipe or a device.
fn file_below(path: &Path) -> Found {
    let mut found = Found { name: path.display().to_string(), format: Format::Toml, bytes: Ok(vec![]) };
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => return file(path),
        Ok(_) => found.bytes = Err(io::Error::other("it is no regular file")),
        Err(error) => found.bytes = Err(error),
    }
    found
}

/// One byte more than a spec may have is enough to refuse it.
fn read(source: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(SPEC_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
