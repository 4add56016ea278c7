//! One role as a child process: started, heard in its log, signalled, waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::process::ChildStdin;
use tokio::time::{sleep, timeout};

use crate::demo::house::House;
use crate::demo::port;
use crate::role::Role;

/// How long a role may take until it listens.
const START: Duration = Duration::from_secs(15);
/// How often its log is looked at until then.
const LOOK: Duration = Duration::from_millis(5);

/// A role that runs.
pub struct Child {
    title: String,
    process: tokio::process::Child,
    /// Ends with us, and the role with it.
    stdin: Option<ChildStdin>,
    log: Log,
    port: u16,
}

/// How a role is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// As Ctrl+C does.
    Interrupt,
    /// As a service manager does.
    Terminate,
    /// It is not asked.
    Kill,
}

impl Child {
    /// Starts `role` with `args`, and waits until it listens.
    pub async fn start(house: &House, role: Role, title: &str, args: &[String]) -> anyhow::Result<Child> {
        let log = Log::open(house.dir().join(format!("{}.log", title.replace(' ', "-"))))?;
        let mut process = house
            .command()?
            .arg(role.name())
            .args(args)
            .args(["--stop-with-parent", "--log", "info"])
            .stdin(Stdio::piped())
            .stderr(log.writer()?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| anyhow!("cannot start the {title}: {error}"))?;
        let stdin = process.stdin.take();
        let mut child = Child { title: title.to_owned(), process, stdin, log, port: 0 };
        child.port = child.heard_listening().await?;
        Ok(child)
    }

    async fn heard_listening(&mut self) -> anyhow::Result<u16> {
        let started = Instant::now();
        loop {
            // First whether it has ended, then what it said: so its last words are heard.
            let ended = self.ended()?;
            let said = self.log.read()?;
            if let Some(port) = port::announced(&said) {
                return Ok(port);
            }
            if let Some(status) = ended {
                bail!("the {} did not start ({status}): {}", self.title, last_line(&said));
            }
            if started.elapsed() > START {
                bail!("the {} did not listen within {} s: {}", self.title, START.as_secs(), last_line(&said));
            }
            sleep(LOOK).await;
        }
    }

    /// What it is, as a person says it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.try_wait().map_err(|error| anyhow!("cannot wait for the {}: {error}", self.title))
    }

    /// Asks it to stop; one that has ended needs no asking.
    pub fn ask(&mut self, ask: Ask) {
        let Some(pid) = self.process.id() else { return };
        if ask == Ask::Kill {
            // An error means that it has ended in this very moment.
            let _ = self.process.start_kill();
            return;
        }
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let signal = if ask == Ask::Interrupt { Signal::INT } else { Signal::TERM };
            // It has not been waited for, so the id is still its own.
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
        #[cfg(not(unix))]
        {
            let _ = pid;
            self.stdin = None;
        }
    }

    /// Waits for its end, so long.
    pub async fn wait(&mut self, so_long: Duration) -> anyhow::Result<Option<ExitStatus>> {
        match timeout(so_long, self.process.wait()).await {
            Ok(status) => {
                self.stdin = None;
                status.map(Some).map_err(|error| anyhow!("cannot wait for the {}: {error}", self.title))
            }
            Err(_) => Ok(None),
        }
    }
}

/// The log of a role, from the moment that it was started.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    begins_at: u64,
}

impl Log {
    fn open(path: PathBuf) -> anyhow::Result<Log> {
        let begins_at = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Ok(Log { path, begins_at })
    }

    fn writer(&self) -> anyhow::Result<File> {
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        opened.map_err(|error| anyhow!("cannot write {}: {error}", self.path.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is now.
    pub fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// What was written since the start.
    pub fn read(&self) -> anyhow::Result<String> {
        self.read_from(self.begins_at)
    }

    /// What was written behind `offset`.
    pub fn read_from(&self, offset: u64) -> anyhow::Result<String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| anyhow!("cannot read {}: {error}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The last line that says something.
pub fn last_line(log: &str) -> &str {
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}
