//! Where the output of one replica lies: a directory `APP.ID`, in it numbered files, the newest with the highest number.
//!
//! A file keeps its number for life, so a reader that is at its end knows which one comes next.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cluster::ReplicaId;
use cluster::app::AppName;

/// The directory of a replica's output, in the directory of all output.
pub fn directory(all: &Path, app: &AppName, id: ReplicaId) -> PathBuf {
    // The name of an app has no dot in it.
    all.join(format!("{app}.{id}"))
}

/// Whose directory has this name.
pub fn replica_of(name: &str) -> Option<ReplicaId> {
    let (app, id) = name.split_once('.')?;
    app.parse::<AppName>().ok()?;
    id.parse().ok()
}

/// One file.
pub fn file(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:06}.log"))
}

/// The numbers of the files that are there, the oldest first.
pub fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    match fs::read_dir(directory) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse::<u64>().ok()));
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    numbers.sort_unstable();
    Ok(numbers)
}
