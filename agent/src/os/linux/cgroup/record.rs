//! What an agent writes down about its cgroups, so that the next one on its runtime directory knows them again.
//!
//! A name proves nothing: whoever may write the hierarchy may make another cgroup of that name. The number of the directory does, within
//! one boot, since kernfs gives none twice.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Tree;
use crate::guardian::protocol::Cgroup;

/// Its name in the runtime directory.
const FILE: &str = "cgroup";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    boot: String,
    cgroups: Vec<Recorded>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    inode: u64,
    cgroup: Cgroup,
}

/// Writes down that these cgroups were made by the agent of this runtime directory.
pub fn write(runtime: &Path, cgroups: &[Cgroup]) -> io::Result<()> {
    let recorded = |cgroup: &Cgroup| Ok(Recorded { inode: fs::metadata(&cgroup.directory)?.ino(), cgroup: cgroup.clone() });
    let record = Record { boot: boot()?, cgroups: cgroups.iter().map(recorded).collect::<io::Result<_>>()? };
    let fresh = runtime.join(format!("{FILE}.new"));
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Others may be let through the directory.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(&record)?)?;
    fs::rename(fresh, runtime.join(FILE))
}

/// Removes the record.
pub fn remove(runtime: &Path) {
    for name in [FILE.to_owned(), format!("{FILE}.new")] {
        if let Err(e) = fs::remove_file(runtime.join(name))
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!("cannot remove the record of a cgroup in {}: {e}", runtime.display());
        }
    }
}

/// The cgroups that the last agent of this runtime directory made, those that are still there and are the same.
pub fn left_in(runtime: &Path) -> Vec<Tree> {
    let path = runtime.join(FILE);
    let record = match fs::read(&path).map(|text| serde_json::from_slice::<Record>(&text)) {
        Ok(Ok(record)) => record,
        Err(e) if e.kind() == ErrorKind::NotFound => return vec![],
        Err(e) => {
            tracing::warn!("the record {} is ignored: {e}", path.display());
            return vec![];
        }
        Ok(Err(e)) => {
            tracing::warn!("the record {} is ignored: it is damaged ({e})", path.display());
            return vec![];
        }
    };
    if boot().ok() != Some(record.boot) {
        tracing::warn!("the record {} is ignored: it stems from before this host was started", path.display());
        return vec![];
    }
    record.cgroups.into_iter().filter(is_the_same).map(|recorded| Tree::there(recorded.cgroup)).collect()
}

fn is_the_same(recorded: &Recorded) -> bool {
    let there = &recorded.cgroup.directory;
    match fs::symlink_metadata(there) {
        Ok(meta) if meta.is_dir() && meta.ino() == recorded.inode && there.join("cgroup.procs").exists() => true,
        Ok(_) => {
            tracing::warn!("{} is left alone: it has the name of an earlier agent's cgroup, but is another", there.display());
            false
        }
        // Its agent or its guardian removed it.
        Err(_) => false,
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A directory that looks like a cgroup, and the one in which its record lies.
    fn made(dir: &Path) -> Cgroup {
        let directory = dir.join("cgroup-of-an-agent");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("cgroup.procs"), "").unwrap();
        Cgroup { directory, hierarchy: String::new(), path: "/ostler/x".to_owned() }
    }

    #[test]
    fn a_cgroup_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = made(dir.path());
        assert_eq!(left_in(dir.path()), []);
        write(dir.path(), std::slice::from_ref(&cgroup)).unwrap();
        assert_eq!(left_in(dir.path()), [Tree::there(cgroup)]);
        remove(dir.path());
        assert_eq!(left_in(dir.path()), []);
    }

    #[test]
    fn another_of_the_same_name_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = made(dir.path());
        write(dir.path(), std::slice::from_ref(&cgroup)).unwrap();
        fs::rename(&cgroup.directory, dir.path().join("elsewhere")).unwrap();
        assert_eq!(left_in(dir.path()), []);
        made(dir.path());
        assert_eq!(left_in(dir.path()), []);
    }

    #[test]
    fn a_record_that_is_cut_short_or_of_another_boot_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = made(dir.path());
        write(dir.path(), std::slice::from_ref(&cgroup)).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        for len in 0..text.len() {
            fs::write(&path, &text[..len]).unwrap();
            assert_eq!(left_in(dir.path()), [], "{}", &text[..len]);
        }
        fs::write(&path, text.replace(&boot().unwrap(), "00000000-0000-0000-0000-000000000000")).unwrap();
        assert_eq!(left_in(dir.path()), []);
        fs::write(&path, text).unwrap();
        assert_eq!(left_in(dir.path()).len(), 1);
    }
}
