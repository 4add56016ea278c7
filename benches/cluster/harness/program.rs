//! A built program as a process: started, signalled, waited for, and in no case left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::sleep;

const LISTENING_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// So much of a log is shown with an error.
const LOG_LINES: usize = 15;

/// Where the program of this name was built.
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(match name {
        "controller" => env!("CARGO_BIN_EXE_controller"),
        "agent" => env!("CARGO_BIN_EXE_agent"),
        "worker" => env!("CARGO_BIN_EXE_worker"),
        other => bail!("there is no program {other}"),
    }))
}

/// A running controller or agent.
pub struct Program {
    name: &'static str,
    // Its stdin is in here too: the program stops when that ends, however we die.
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `name` in `dir`; what it logs goes to a file there.
    ///
    /// It gets a process group of its own, so that a Ctrl+C at the terminal is ours alone, and one that we send is the program's alone.
    pub fn start<S: AsRef<OsStr>>(name: &'static str, args: &[S], dir: &Path) -> Result<Program> {
        let log = (0..).map(|at| dir.join(format!("{name}-{at}.log"))).find(|log| !log.exists());
        let log = log.ok_or_else(|| anyhow!("there is no free name for a log"))?;
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let path = path(name)?;
        let child = Command::new(&path)
            .args(args)
            .arg("--stop-with-parent")
            .env_remove("OSTLER_LOG")
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        Ok(Program { name, child, log })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends a signal to it and its process group, as a terminal does.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()).ok_or_else(|| anyhow!("{} is no pid", self.pid()))?;
        kill_process_group(pid, signal).with_context(|| format!("cannot signal {} ({})", self.name, self.pid()))
    }

    /// The port that it listens on, as soon as its log says so.
    pub async fn port(&mut self) -> Result<u16> {
        let deadline = Instant::now() + LISTENING_MAX;
        loop {
            if let Some(port) = port_in(&fs::read_to_string(&self.log).unwrap_or_default()) {
                return Ok(port);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it listened\n{}", self.name, self.log_end());
            }
            if Instant::now() > deadline {
                bail!("{} did not listen within {} s\n{}", self.name, LISTENING_MAX.as_secs(), self.log_end());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {} s\n{}", self.name, within.as_secs_f64(), self.log_end());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        format!("--- {} ({})\n{}", self.name, self.pid(), end.join("\n"))
    }
}

/// The port in `... listening on 127.0.0.1:PORT ...`.
fn port_in(log: &str) -> Option<u16> {
    let rest = log.split_once("listening on 127.0.0.1:")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest.get(..digits)?.parse().ok()
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails only when it has ended and was waited for. A stopped process is killed like any other.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
