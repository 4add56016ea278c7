//! The processes of this machine, as `/proc` shows them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pid: u32,
    pub parent: u32,
    pub command: String,
    environment: String,
    directory: String,
}

/// All processes that are alive; a zombie is not.
pub fn all() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![] };
    entries.flatten().filter_map(|entry| seen(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Those that belong to a test: its directory stands in their environment (HOME), their command line, or is where they work.
pub fn below(directory: &Path) -> Vec<Seen> {
    let directory = directory.to_string_lossy();
    let belongs = |seen: &Seen| [&seen.command, &seen.environment, &seen.directory].iter().any(|text| text.contains(&*directory));
    all().into_iter().filter(belongs).collect()
}

/// Those of one replica of a test.
pub fn of_replica(directory: &Path, id: &str) -> Vec<Seen> {
    let variable = format!("OSTLER_REPLICA_ID={id}");
    below(directory).into_iter().filter(|seen| seen.environment.split('\0').any(|entry| entry == variable)).collect()
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<Seen> {
    all().into_iter().filter(|seen| seen.parent == pid).collect()
}

/// It is there, and no zombie.
pub fn is_alive(pid: u32) -> bool {
    seen(pid).is_some()
}

/// Sends a signal to a process, which must be there.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// `kill -9`.
#[track_caller]
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// A variable of a process's environment.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    variables(pid).into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

/// All variables of a process's environment.
pub fn variables(pid: u32) -> Vec<(String, String)> {
    let environment = seen(pid).map(|seen| seen.environment).unwrap_or_default();
    environment.split('\0').filter_map(|entry| entry.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn seen(pid: u32) -> Option<Seen> {
    // `pid (name) state parent ...`, and the name may hold anything, parentheses too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let text = |name: &str| fs::read(format!("/proc/{pid}/{name}")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Seen {
        pid,
        parent,
        command: text("cmdline").unwrap_or_default().replace('\0', " "),
        environment: text("environ").unwrap_or_default(),
        directory,
    })
}
