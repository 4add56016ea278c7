//! Python, where it is installed with what a script needs.

use std::path::PathBuf;
use std::process::Command;

use super::needs;

/// The Python that has this module; the one on PATH first, then the system's own.
pub fn with(module: &str) -> Option<PathBuf> {
    let candidates = needs::program("python3").into_iter().chain([PathBuf::from("/usr/bin/python3")]);
    // Asked for its own path: what is on PATH may be a script that needs more of the environment than a replica has.
    let ask = format!("import {module}, sys; print(sys.executable)");
    candidates.into_iter().find_map(|program| {
        let output = Command::new(program).args(["-c", &ask]).output().ok().filter(|output| output.status.success())?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    })
}
