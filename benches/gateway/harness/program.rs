//! A program as a process, ours or not: started, waited for, and in no case left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Process;
use super::namespaces::Place;

const LISTENING_MAX: Duration = Duration::from_secs(10);
const ENDING_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// So much of a log is shown with an error.
const LOG_LINES: usize = 15;

/// Where a program of this name is installed. Those for administrators may not be on the PATH of others.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// A running program.
pub struct Program {
    name: &'static str,
    // Its stdin is in here too: ours stop when that ends, however we die.
    child: Child,
    log: PathBuf,
    is_ours: bool,
}

impl Program {
    /// Starts a program of Ostler's.
    pub fn ours(name: &'static str, place: &Place, args: &[&OsStr], dir: &Path) -> Result<Program> {
        let path = match name {
            "controller" => env!("CARGO_BIN_EXE_controller"),
            "agent" => env!("CARGO_BIN_EXE_agent"),
            other => bail!("there is no program {other}"),
        };
        let mut command = place.command(Path::new(path))?;
        command.args(args).arg("--stop-with-parent").env_remove("OSTLER_LOG");
        Program::start(name, command, dir, true)
    }

    /// Starts a program that is not Ostler's. Where setpriv is installed, it ends with us, however we die.
    pub fn foreign(name: &'static str, place: &Place, path: &Path, args: &[&OsStr], dir: &Path) -> Result<Program> {
        let mut command = match find("setpriv") {
            Some(setpriv) => {
                let mut command = place.command(&setpriv)?;
                command.args(["--pdeathsig", "TERM"]).arg(path);
                command
            }
            None => place.command(path)?,
        };
        command.args(args);
        Program::start(name, command, dir, false)
    }

    /// What it says goes to a file in `dir`. It gets a process group of its own, so that a Ctrl+C at the terminal is ours alone.
    fn start(name: &'static str, mut command: Command, dir: &Path, is_ours: bool) -> Result<Program> {
        let log = (0..).map(|at| dir.join(format!("{name}-{at}.log"))).find(|log| !log.exists());
        let log = log.ok_or_else(|| anyhow!("there is no free name for a log"))?;
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.current_dir(dir).stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Program { name, child, log, is_ours })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until its log says where it listens, and returns the port.
    pub async fn port(&mut self) -> Result<u16> {
        let deadline = Instant::now() + LISTENING_MAX;
        loop {
            if let Some(port) = port_in(&self.log()) {
                return Ok(port);
            }
            self.still_starting(deadline)?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it accepts connections at this address.
    pub async fn accepts(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + LISTENING_MAX;
        while TcpStream::connect(address).await.is_err() {
            self.still_starting(deadline)?;
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until it has started so many processes.
    pub async fn has_children(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + LISTENING_MAX;
        while Process::children(self.pid()).len() < count {
            self.still_starting(deadline)?;
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn still_starting(&mut self, deadline: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status} before it listened\n{}", self.name, self.log_end());
        }
        if Instant::now() > deadline {
            bail!("{} did not listen within {} s\n{}", self.name, LISTENING_MAX.as_secs(), self.log_end());
        }
        Ok(())
    }

    /// All that it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        format!("--- {} ({})\n{}", self.name, self.pid(), end.join("\n"))
    }
}

/// The port in `... listening on ADDRESS:PORT ...`.
fn port_in(log: &str) -> Option<u16> {
    let rest = log.split_once("listening on ")?.1;
    let (address, _) = rest.split_once(char::is_whitespace)?;
    address.parse::<SocketAddr>().ok().map(|address| address.port())
}

impl Drop for Program {
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.pid()) else { return };
        if !self.is_ours {
            // nginx's workers are stopped by its master, so the master must not be killed first.
            let _ = kill_process_group(group, Signal::TERM);
            let deadline = Instant::now() + ENDING_MAX;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(LOOK_EVERY);
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended this very moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
