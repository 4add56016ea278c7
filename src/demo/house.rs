//! The directory that holds everything of one demo, and the sweeper that removes it.
//!
//! A demo may be killed with SIGKILL, and then cannot clean up. So the sweeper does it, always: a small process that
//! reads a pipe whose other end the demo, the controller and both agents hold (as their stdout). The pipe ends when the
//! last of them is gone, whatever ended them; then the directory is removed.

use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context as _, anyhow, bail};

/// What the name of the directory begins with. The sweeper removes no other.
const PREFIX: &str = "ostler-demo-";
/// How long the sweeper may take once everybody is gone.
const SWEEP: Duration = Duration::from_secs(10);
/// How often the sweeper tries, and how long it waits between: somebody's last file may just be being closed.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Windows: Ctrl+C is not passed on to the new process (CreateProcess, process creation flags).
#[cfg(windows)]
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

/// The directory.
pub struct House {
    dir: PathBuf,
    /// Where programs are started.
    workplace: PathBuf,
    program: PathBuf,
    held: PipeWriter,
    sweeper: tokio::process::Child,
}

impl House {
    /// Makes the directory, with a `worker` and an `agent` in it that are this very program. `workplace`: where programs are started, if not there.
    pub fn build(workplace: Option<&Path>) -> anyhow::Result<House> {
        let program = env::current_exe().map_err(|error| anyhow!("cannot find this program's own file: {error}"))?;
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .with_context(|| format!("cannot make a directory in {}: set TMPDIR to another", env::temp_dir().display()))?;
        // The agent is for a person who starts one that has ended again.
        link(&program, &dir.path().join("worker"))?;
        link(&program, &dir.path().join("agent"))?;
        let (end, held) = io::pipe().map_err(|error| anyhow!("cannot make a pipe: {error}"))?;
        let sweeper = own_program(&program)
            .arg("demo-sweep")
            .arg(dir.path())
            .stdin(end)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| anyhow!("cannot start {}: {error}", program.display()))?;
        // From here on the sweeper removes it.
        let dir = dir.keep();
        let workplace = workplace.unwrap_or(&dir).to_owned();
        Ok(House { dir, workplace, program, held, sweeper })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// This program once more, in a process group of its own: the terminal's Ctrl+C is for the demo alone.
    pub fn command(&self) -> anyhow::Result<tokio::process::Command> {
        let mut command = own_program(&self.program);
        let held = self.held.try_clone().map_err(|error| anyhow!("cannot share the demo's pipe: {error}"))?;
        command.current_dir(&self.workplace).stdout(held);
        Ok(command)
    }

    /// Lets go of the directory, and waits until it is gone.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        drop(self.held);
        if tokio::time::timeout(SWEEP, self.sweeper.wait()).await.is_err() || self.dir.exists() {
            bail!("{} could not be removed: something still uses it", self.dir.display());
        }
        Ok(())
    }
}

fn own_program(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    #[cfg(unix)]
    command.process_group(0).arg0("ostler");
    #[cfg(windows)]
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    command
}

#[cfg(unix)]
fn link(program: &Path, link: &Path) -> anyhow::Result<()> {
    std::os::unix::fs::symlink(program, link).map_err(|error| anyhow!("cannot make the link {}: {error}", link.display()))
}

/// Links need a right there that few have.
#[cfg(not(unix))]
fn link(program: &Path, link: &Path) -> anyhow::Result<()> {
    let copy = link.with_extension("exe");
    fs::copy(program, &copy).map_err(|error| anyhow!("cannot copy this program to {}: {error}", copy.display()))?;
    Ok(())
}

/// The sweeper: waits for the end of stdin, then removes `dir`.
pub fn sweep(dir: &Path) -> anyhow::Result<()> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !dir.is_absolute() || !name.starts_with(PREFIX) {
        bail!("{} is not the directory of a demo", dir.display());
    }
    // Whatever the roles print is nothing to us.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    for _ in 0..TRIES {
        match fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => thread::sleep(BETWEEN_TRIES),
        }
    }
    bail!("{} could not be removed", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweeper_removes_nothing_but_a_demos_directory() {
        for dir in ["/", "/tmp", "ostler-demo-x", "/home/ostler-dem", "/ostler-demo-x/.."] {
            assert!(sweep(Path::new(dir)).is_err(), "{dir}");
        }
    }
}
