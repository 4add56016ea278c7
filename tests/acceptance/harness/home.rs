//! A directory of a test's own, in which its programs live: they are linked into it by the names of the original description,
//! and everything that they write by default goes below it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::processes;
use super::wait::{PATIENCE, wait_for};

/// The built programs.
pub const PROGRAMS: [(&str, &str); 4] = [
    ("ostler", env!("CARGO_BIN_EXE_ostler")),
    ("controller", env!("CARGO_BIN_EXE_controller")),
    ("agent", env!("CARGO_BIN_EXE_agent")),
    ("worker", env!("CARGO_BIN_EXE_worker")),
];

/// The directory of one test. When it is dropped no process of the test may be left, and nothing where nothing belongs.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    path: OsString,
}

impl Home {
    /// With links to all programs in the working directory.
    pub fn new() -> Self {
        let home = Home::without_programs();
        for (name, program) in PROGRAMS {
            symlink(program, home.cwd().join(name)).unwrap();
        }
        home
    }

    /// With nothing in the working directory.
    pub fn without_programs() -> Self {
        let directory = tempfile::Builder::new().prefix("ostler-test-").tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let home = Home { directory, path };
        for name in ["cwd", "home", "tmp", "run", "logs"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        home
    }

    /// The directory of everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where programs are started: the terminal's directory of the original description.
    pub fn cwd(&self) -> PathBuf {
        self.path().join("cwd")
    }

    /// From here on PATH leads to nothing.
    pub fn empty_path(&mut self) {
        self.path = self.path().join("tmp").into();
    }

    /// Puts a program of its own into the working directory: no link, so that nothing else lies beside it.
    pub fn copy_program(&self, name: &str) {
        let (_, program) = PROGRAMS.into_iter().find(|(known, _)| *known == name).unwrap();
        let file = self.cwd().join(name);
        fs::hard_link(program, &file).or_else(|_| fs::copy(program, &file).map(|_| ())).unwrap();
    }

    /// Puts a script into the working directory.
    pub fn script(&self, name: &str, text: &str) {
        self.file(name, text, 0o755);
    }

    /// Puts a file into the working directory.
    pub fn file(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.cwd().join(name);
        // Under another name first: a program that is being written cannot be started.
        let fresh = self.cwd().join(format!("{name}.new"));
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(fresh, file).unwrap();
    }

    /// A command in the working directory, with an environment in which all that is written by default goes below this home.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.cwd())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.path().join("home"))
            .env("TMPDIR", self.path().join("tmp"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("LANG", "C.UTF-8");
        command
    }

    /// What lies in the places for temporary files and for what belongs to the user.
    pub fn strays(&self) -> Vec<PathBuf> {
        ["home", "tmp", "run"]
            .iter()
            .flat_map(|name| fs::read_dir(self.path().join(name)).unwrap().flatten())
            .map(|entry| entry.path())
            .collect()
    }

    /// Waits until no process of this test is left.
    #[track_caller]
    pub fn wait_empty(&self, limit: Duration) {
        wait_for(limit, "end of all processes", || {
            let left = processes::below(self.path());
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wait_empty(PATIENCE);
            let strays = self.strays();
            assert!(strays.is_empty(), "left behind outside of data and runtime directory: {strays:?}");
            return;
        }
        // The test has failed already: what it started must not outlive it.
        for _ in 0..3 {
            for seen in processes::below(self.path()) {
                let pid = i32::try_from(seen.pid).ok().and_then(Pid::from_raw);
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
        }
    }
}
