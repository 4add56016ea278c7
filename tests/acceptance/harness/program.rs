//! A running program: its process, its signals, its log.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::home::Home;
use super::wait::{PATIENCE, wait_for};

/// A program that runs until it is told to end. It gets SIGKILL when it is dropped; when the test fails its log is shown.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts it in a process group of its own, as a terminal does. What it writes goes to a file.
    pub fn start(home: &Home, name: &str, command: &mut Command) -> Self {
        let log = fresh_log(home, name);
        let file = File::create(&log).unwrap();
        command.process_group(0).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Program { name: name.to_owned(), child, log, status: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "{} has ended already", self.name);
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ctrl+C: the terminal sends it to the whole group.
    pub fn interrupt(&self) {
        assert!(self.status.is_none(), "{} has ended already", self.name);
        let group = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process_group(group, Signal::INT).unwrap();
    }

    /// It stops in its tracks, with all its connections open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            self.signal(Signal::KILL);
            self.wait_end(PATIENCE);
        }
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let name = format!("end of {}", self.name);
        wait_for(limit, &name, || self.ended().ok_or_else(|| format!("it still runs; its log:\n{}", self.log())))
    }

    /// Everything that it wrote, without the colours that are meant for a terminal.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for a line that holds `text`.
    #[track_caller]
    pub fn wait_log(&self, limit: Duration, text: &str) -> String {
        let what = format!("\"{text}\" in the log of {}", self.name);
        wait_for(limit, &what, || {
            let log = self.log();
            log.lines().find(|line| line.contains(text)).map(str::to_owned).ok_or(log)
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of {} (process {}) ----\n{}", self.name, self.pid(), tail(&self.log(), 80));
        }
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a program ended that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end.
#[track_caller]
pub fn run(home: &Home, command: &mut Command) -> Ended {
    run_within(home, PATIENCE, command)
}

/// Runs a program to its end, which must come within `limit`.
#[track_caller]
pub fn run_within(home: &Home, limit: Duration, command: &mut Command) -> Ended {
    let (out, err) = (fresh_log(home, "stdout"), fresh_log(home, "stderr"));
    command.process_group(0).stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut program = Program { name: format!("{command:?}"), child, log: err.clone(), status: None };
    let status = program.wait_end(limit);
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Ended { code: status.code(), stdout: text(&out), stderr: text(&err) }
}

fn fresh_log(home: &Home, name: &str) -> PathBuf {
    let logs = home.path().join("logs");
    (1..).map(|nth| logs.join(format!("{name}-{nth}.log"))).find(|path| !path.exists()).unwrap()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
