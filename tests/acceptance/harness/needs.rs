//! What a test needs beyond Rust and a C compiler. Where it is not there the test says so, loudly, and is left out; with
//! OSTLER_TEST_ALL=1 it fails instead.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Whether `there` holds; `false` tells the caller to return.
#[track_caller]
pub fn is_there(test: &str, need: &str, there: bool) -> bool {
    if there {
        return true;
    }
    assert!(env::var_os("OSTLER_TEST_ALL").is_none_or(|value| value != "1"), "{test} needs {need}, and OSTLER_TEST_ALL=1 forbids skipping");
    // Not by eprintln: the test runner would swallow that.
    let _ = writeln!(io::stderr(), "\n*** SKIPPED: {test} needs {need} ***");
    false
}

/// Where a program of the host is.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// This test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
