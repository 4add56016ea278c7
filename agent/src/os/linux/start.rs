//! One start of a replica's process: its cgroups, its limits, and what is done where they cannot be had.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::limits::{Enforcement, missing};
use rustix::process::Pid;

use super::birth::{Entrance, NotBorn, start_replica};
use super::cgroup::{Tree, limit};
use super::output::Output;
use super::own_limits::OwnLimits;
use super::surroundings::{Listening, Surroundings};
use crate::guardian::protocol::{Cgroup, Spawn};

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// The first of its replica.
    pub pid: Pid,
    /// Where it is.
    pub cgroups: Cgroups,
    /// Why it is not in the cgroup that was asked for.
    pub without: Option<String>,
    /// What came of its limits, and of its sandbox.
    pub limits: Enforcement,
    /// Holds what it uses.
    pub lease: Option<Held>,
}

/// What an attempt uses, as an artifact: nobody removes it while any process is left.
#[derive(Debug)]
pub struct Held {
    /// The file whose lock says so.
    pub path: PathBuf,
    _file: File,
}

impl Held {
    /// Locks a file, with others. The agent holds it as well until it hears of this, so nobody can hold it alone.
    pub fn hold(path: &Path) -> io::Result<Self> {
        let held = File::open(path).and_then(|file| file.try_lock_shared().map(|()| file).map_err(io::Error::from));
        let file = held.map_err(|e| io::Error::new(e.kind(), format!("what it uses cannot be held ({}): {e}", path.display())))?;
        Ok(Held { path: path.to_owned(), _file: file })
    }

    /// The same for an attempt that runs already: it runs on where that fails.
    pub fn hold_again(path: Option<PathBuf>) -> Option<Self> {
        Held::hold(&path?).map_err(|e| drop(writeln!(io::stderr(), "warning: {e}"))).ok()
    }
}

/// The cgroups of an attempt.
#[derive(Debug, Default)]
pub struct Cgroups {
    /// The one that holds its processes.
    pub tree: Option<Tree>,
    limiters: Vec<Tree>,
}

impl Cgroups {
    fn make(spawn: &Spawn) -> io::Result<Self> {
        let mut made = Cgroups::default();
        let Some(cgroup) = spawn.cgroup.clone() else { return Ok(made) };
        let directory = cgroup.directory.clone();
        let tree = Tree::make(cgroup).map_err(|e| io::Error::new(e.kind(), format!("cannot make {}: {e}", directory.display())))?;
        made.tree = Some(tree);
        // One that cannot be made limits nothing, which is said of the limit.
        made.limiters = spawn.limiters.iter().cloned().filter_map(|cgroup| Tree::make(cgroup).ok()).collect();
        Ok(made)
    }

    /// Those that were made before.
    pub fn there(tree: Option<Cgroup>, limiters: Vec<Cgroup>) -> Self {
        Cgroups { tree: tree.map(Tree::there), limiters: limiters.into_iter().map(Tree::there).collect() }
    }

    /// Those that limit.
    pub fn limiters(&self) -> Vec<Cgroup> {
        self.limiters.iter().map(|tree| tree.cgroup().clone()).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<&Tree> {
        self.tree.iter().chain(&self.limiters).collect()
    }

    fn entrance(&self) -> io::Result<Entrance> {
        let doors = self.all().into_iter().map(Tree::door).collect::<io::Result<_>>()?;
        Ok(Entrance { into: self.tree.as_ref().and_then(Tree::into), doors })
    }

    /// Whether a process in them was killed because the replica reached its memory limit.
    pub fn has_killed(&self) -> bool {
        limit::has_killed(&self.all())
    }

    /// Removes them; what cannot be removed now is removed with the agent's own.
    pub fn remove(&self) {
        self.all().into_iter().for_each(|tree| drop(tree.remove()));
    }
}

/// Starts the process of an attempt, in cgroups of its own where that can be done.
pub fn start(spawn: &Spawn, output: &Output, listening: Option<Listening<'_>>) -> io::Result<Started> {
    let lease = spawn.lease.as_deref().map(Held::hold).transpose()?;
    let (own, mut said) = OwnLimits::judge(&spawn.limits);
    let (surroundings, of_sandbox) = Surroundings::prepare(spawn, listening)?;
    said.extend(of_sandbox);
    let surroundings = Arc::new(surroundings);
    let start_in = |said, cgroups| start_in(spawn, own, &surroundings, said, cgroups, output);
    let without = match Cgroups::make(spawn) {
        Ok(cgroups) => match start_in(said.clone(), cgroups) {
            Err(NotStarted::Outside(why)) => why,
            Err(NotStarted::Refused(e)) => return Err(e),
            Ok(started) => return Ok(Started { lease, ..started }),
        },
        Err(e) => e.to_string(),
    };
    match start_in(said, Cgroups::default()) {
        Ok(started) => Ok(Started { without: Some(without), lease, ..started }),
        Err(NotStarted::Refused(e)) => Err(e),
        Err(NotStarted::Outside(why)) => Err(io::Error::other(why)),
    }
}

/// Starts another process of an attempt, as its first one was started: a check.
pub fn start_beside(spawn: &Spawn, cgroups: &Cgroups, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Pid> {
    let (own, _) = OwnLimits::judge(&spawn.limits);
    let (surroundings, _) = Surroundings::prepare(spawn, None)?;
    Ok(start_replica(spawn, own, &Arc::new(surroundings), cgroups.entrance()?, stdout, stderr)?)
}

enum NotStarted {
    /// It may be that it was not let into its cgroups.
    Outside(String),
    Refused(io::Error),
}

fn start_in(
    spawn: &Spawn,
    own: OwnLimits,
    surroundings: &Arc<Surroundings>,
    mut said: Enforcement,
    cgroups: Cgroups,
    output: &Output,
) -> Result<Started, NotStarted> {
    said.extend(limit::set(&spawn.limits, &cgroups.all()));
    if let Some(sentence) = missing(&said).filter(|_| spawn.strict_limits) {
        cgroups.remove();
        return Err(NotStarted::Refused(io::Error::other(format!("{sentence}; it is not started without, for strict_limits is set"))));
    }
    let started = cgroups.entrance().map_err(NotBorn::from).and_then(|entrance| {
        let (stdout, stderr) = output.writers()?;
        start_replica(spawn, own, surroundings, entrance, stdout, stderr)
    });
    match started {
        Ok(pid) => Ok(Started { pid, cgroups, without: None, limits: said, lease: None }),
        Err(NotBorn::Refused(sentence)) => {
            cgroups.remove();
            Err(NotStarted::Refused(io::Error::other(sentence)))
        }
        Err(NotBorn::System(e)) => {
            cgroups.remove();
            let is_outside = cgroups.tree.is_none();
            let directory = cgroups.tree.map(|tree| tree.cgroup().directory.display().to_string()).unwrap_or_default();
            Err(if is_outside {
                NotStarted::Refused(e)
            } else {
                NotStarted::Outside(format!("it could not be started in {directory}: {e}"))
            })
        }
    }
}
