//! Archives through the whole of it: what is good is unpacked as it should be, and of what is not, nothing is left anywhere.

#![allow(clippy::unwrap_used)]

mod hostile_tars;
mod hostile_zips;
mod tar_maker;
mod zip_maker;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cluster::artifact::Artifact;
use tokio::sync::watch;

use super::Lease;
use super::bounds::Bounds;
use super::error::Error;
use super::fetcher::{Fetcher, Settings};
use super::stage::Stage;
use tar_maker::{TarMaker, gz, zst};
use zip_maker::{Part, zip};

/// An archive that must be refused.
#[derive(Clone, Debug)]
pub struct Hostile {
    pub what: &'static str,
    /// Its name as a file.
    pub file: &'static str,
    /// What the error names; empty where no entry is to blame.
    pub name: &'static str,
    /// Words of the error.
    pub why: &'static str,
    pub bytes: Vec<u8>,
}

const BOUNDS: Bounds =
    Bounds { download_bytes: 4_000_000, unpacked_bytes: 1_000_000, entries: 50, name_bytes: 4_000, ratio: 200, ratio_free_bytes: 10_000 };

fn fetch(dir: &Path, file: &str, bytes: &[u8], sha256: Option<String>) -> Result<Lease, Error> {
    fs::create_dir_all(dir.join("source")).unwrap();
    fs::write(dir.join("source").join(file), bytes).unwrap();
    let url = format!("file://{}/source/{file}", dir.display());
    let fetcher = Fetcher::bounded(Settings { directory: Some(dir.join("cache")), bytes_max: 1 << 30 }, BOUNDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let artifact = Artifact { url: url.parse().unwrap(), sha256: sha256.map(|digits| digits.parse().unwrap()) };
    runtime.block_on(fetcher.fetch(&artifact, &watch::channel(Stage::Waiting).0))
}

/// All that lies in a directory, with modes and contents.
fn listing(dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { vec![] };
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            all.insert(name, (meta.permissions().mode() & 0o7777, content));
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    all
}

#[test]
fn nothing_of_a_hostile_archive_is_left_anywhere_and_the_error_names_the_entry() {
    let corpus = [hostile_tars::all(), hostile_zips::all()].concat();
    assert!(corpus.len() >= 30);
    let mut wrong = Vec::new();
    for Hostile { what, file, name, why, bytes } in &corpus {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("beside")).unwrap();
        let message = match fetch(dir.path(), file, bytes, None) {
            Ok(_) => format!("{what}: it was unpacked"),
            Err(e) => e.to_string(),
        };
        if !message.contains(name) || !message.contains(why) || message.contains('\n') || message.contains("cannot be unpacked") {
            wrong.push(format!("{file}, {what}: {message:?}"));
        }
        let left: Vec<String> = listing(dir.path()).into_keys().filter(|path| !path.starts_with("cache/locks/")).collect();
        let source = format!("source/{file}");
        if left != ["beside", "cache", "cache/locks", "cache/partial", "cache/trees", "source", &source] {
            wrong.push(format!("{file}, {what}: it left {left:?}"));
        }
    }
    assert!(!Path::new("/tmp/ostler-escape").exists());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_format_becomes_a_tree_that_nobody_can_change() {
    let long = b"deep/".repeat(20);
    let long = [&long[..], b"file"].concat();
    let tar = TarMaker::new()
        .pax(b'g', &[("comment", b"of git archive")])
        .directory(b"./")
        .directory(b"./bin/")
        .program(b"./bin/web", b"#!/bin/sh\n")
        .file(b"data/page.html", b"<p>")
        .pax(b'x', &[("path", "gr\u{fc}n".as_bytes()), ("mtime", b"1.5"), ("size", b"2")])
        .file(b"gr_n", b"ok")
        .long_name(&long)
        .file(b"deep", b"down")
        .end();
    let as_zip = zip(&[
        Part::stored(b"bin/", b""),
        Part { mode: 0o100_755, ..Part::deflated(b"bin/web", b"#!/bin/sh\n") },
        Part::stored(b"data/page.html", b"<p>"),
        Part { mode: 0o100_600, ..Part::deflated("gr\u{fc}n".as_bytes(), b"ok") },
        Part::deflated(&long, b"down"),
    ]);
    for (file, bytes) in [("a.tar", tar.clone()), ("a.tar.gz", gz(&tar)), ("a.tgz", gz(&tar)), ("a.tar.zst", zst(&tar)), ("a.zip", as_zip)]
    {
        let dir = tempfile::tempdir().unwrap();
        let lease = fetch(dir.path(), file, &bytes, None).unwrap_or_else(|e| panic!("{file}: {e}"));
        let tree = listing(lease.tree());
        assert_eq!(tree["bin"], (0o555, vec![]), "{file}");
        assert_eq!(tree["bin/web"], (0o555, b"#!/bin/sh\n".to_vec()), "{file}");
        assert_eq!(tree["data/page.html"], (0o444, b"<p>".to_vec()), "{file}");
        assert_eq!(tree["gr\u{fc}n"], (0o444, b"ok".to_vec()), "{file}");
        assert_eq!(tree[str::from_utf8(&long).unwrap()].1, b"down", "{file}");
        assert_eq!(tree.len(), 2 + 2 + 1 + 21, "{file}");
        assert_eq!(listing(dir.path())["cache"].0, 0o755, "a replica may run as another user");
        assert_eq!(fs::read_dir(dir.path().join("cache/partial")).unwrap().count(), 0);
    }
}

#[test]
fn a_plain_file_becomes_a_program_by_the_name_in_its_url() {
    let dir = tempfile::tempdir().unwrap();
    let lease = fetch(dir.path(), "web.sh", b"#!/bin/sh\n", None).unwrap();
    assert_eq!(listing(lease.tree()), BTreeMap::from([("web.sh".to_owned(), (0o555, b"#!/bin/sh\n".to_vec()))]));
    let other = fetch(dir.path(), "other", b"#!/bin/sh\n", None).unwrap();
    assert_ne!(other.tree(), lease.tree(), "the same bytes by another name");
}

#[test]
fn what_is_not_what_it_should_be_is_refused_before_it_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let message = fetch(dir.path(), "web", b"other", Some("0".repeat(64))).unwrap_err().to_string();
    assert!(message.contains("should be 0000"), "{message}");
    assert!(!dir.path().join("cache").exists());
    let message = fetch(dir.path(), "large", &vec![0; 4_000_001], None).unwrap_err().to_string();
    assert!(message.contains("larger than the 4 MB") && message.contains(": 4 MB"), "{message}");
}
