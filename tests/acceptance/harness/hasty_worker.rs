//! A worker that is not as patient as ours: it ends idle connections without a word before, and itself at once when it is told to. It is a
//! script in Python.

use std::process::Command;

use super::home::Home;
use super::needs;

const SCRIPT: &str = include_str!("hasty_worker.py");

/// A home in which it is the worker, and ends a connection when it was idle for so long. `None` where there is no Python, which was said.
#[track_caller]
pub fn home(test: &str, idle_seconds: u32) -> Option<Home> {
    // Asked for its own path: what is on PATH may be a script that needs more of the environment than a replica has.
    let asked = needs::program("python3").map(|program| Command::new(program).args(["-c", "import sys; print(sys.executable)"]).output());
    let python =
        asked.and_then(Result::ok).filter(|output| output.status.success()).map(|output| String::from_utf8(output.stdout).unwrap());
    if !needs::is_there(test, "python3", python.is_some()) {
        return None;
    }
    let script = SCRIPT.replace("@IDLE_SECONDS@", &idle_seconds.to_string());
    let home = Home::new();
    home.script("worker", &format!("#!{}\n{script}", python?.trim()));
    Some(home)
}
