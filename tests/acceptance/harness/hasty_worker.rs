//! A worker that is not as patient as ours: it ends idle connections without a word before, and itself at once when it is told to. It is a
//! script in Python.

use super::home::Home;
use super::{needs, python};

const SCRIPT: &str = include_str!("hasty_worker.py");

/// A home in which it is the worker, and ends a connection when it was idle for so long. `None` where there is no Python, which was said.
#[track_caller]
pub fn home(test: &str, idle_seconds: u32) -> Option<Home> {
    let python = python::with("socket");
    if !needs::is_there(test, "python3", python.is_some()) {
        return None;
    }
    let script = SCRIPT.replace("@IDLE_SECONDS@", &idle_seconds.to_string());
    let home = Home::new();
    home.script("worker", &format!("#!{}\n{script}", python?.display()));
    Some(home)
}
