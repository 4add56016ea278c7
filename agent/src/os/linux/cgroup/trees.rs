//! An agent's own cgroup, in which each attempt gets one.
//!
//! It lies below the one that the agent is in, where that was delegated to it; root has a place of its own at the top of version 2,
//! since what a service manager did not delegate is not to be touched. In version 1 it always lies below the agent's own: a limit that
//! holds for the agent holds for its replicas.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use uuid::Uuid;

use super::Tree;
use super::hierarchy::Hierarchy;
use super::record;
use crate::guardian::protocol::{Attempt, Cgroup};

/// What all agents' cgroups in one place lie in.
const NAME: &str = "ostler";
/// How often the making of a directory is tried again, because an agent that ends has just removed the one around it.
const TRIES: u32 = 5;

/// The cgroup of a running agent.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    cgroup: Cgroup,
    /// Where the record lies.
    runtime: PathBuf,
}

/// Makes a cgroup for the agent of this runtime directory; `None`, with a line in the log, where none can be written.
pub(crate) fn make_trees(runtime: &Path) -> Option<Trees> {
    let mut refused = Vec::new();
    for hierarchy in Hierarchy::all().iter().filter(|hierarchy| can_hold(hierarchy)) {
        match make_in(hierarchy, runtime) {
            Ok(trees) => {
                tracing::info!(cgroup = %trees.cgroup.directory.display(), "each replica gets a cgroup of its own");
                return Some(trees);
            }
            Err(e) => refused.push(format!("{}: {e}", if hierarchy.is_unified() { "version 2" } else { &hierarchy.name })),
        }
    }
    let why = if refused.is_empty() { "none is mounted".to_owned() } else { refused.join("; ") };
    tracing::info!("no cgroup can be written ({why}); replicas are known by descent, session and environment");
    None
}

/// A hierarchy whose only use is a limit holds no trees.
fn can_hold(hierarchy: &Hierarchy) -> bool {
    hierarchy.is_unified() || hierarchy.has("freezer") || hierarchy.has("pids") || hierarchy.name.starts_with("name=")
}

fn make_in(hierarchy: &Hierarchy, runtime: &Path) -> io::Result<Trees> {
    let outside = || io::Error::new(ErrorKind::NotFound, "this process is outside of what is mounted");
    let own = hierarchy.directory(&hierarchy.own).ok_or_else(outside)?;
    let has_own_place = hierarchy.is_unified() && geteuid().is_root() && !is_delegated(&own);
    let base = if has_own_place { hierarchy.root() } else { &hierarchy.own };
    let base_directory = hierarchy.directory(base).ok_or_else(outside)?;
    if !has_own_place {
        // To move a process, the cgroup around both its old and its new one must be writable (cgroups(7), "Delegation").
        OpenOptions::new().write(true).open(own.join("cgroup.procs"))?;
    }
    let around = base_directory.join(NAME);
    let name = Uuid::now_v7().to_string();
    let mut tries = 0;
    let directory = loop {
        tries += 1;
        match fs::create_dir(&around) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let directory = around.join(&name);
        match fs::create_dir(&directory) {
            Ok(()) => break directory,
            Err(e) if e.kind() == ErrorKind::NotFound && tries < TRIES => {}
            Err(e) => return Err(e),
        }
    };
    let path = format!("{}/{NAME}/{name}", base.trim_end_matches('/'));
    let trees = Trees { cgroup: Cgroup { directory, hierarchy: hierarchy.name.clone(), path }, runtime: runtime.to_owned() };
    match record::write(runtime, &trees.cgroup) {
        Ok(()) => Ok(trees),
        // Without a record the next agent could not know it again.
        Err(e) => {
            trees.remove();
            Err(io::Error::new(e.kind(), format!("its record cannot be written: {e}")))
        }
    }
}

/// A service manager gave this cgroup away (systemd: `Delegate=yes`), and marked it so.
fn is_delegated(directory: &Path) -> bool {
    let mut value = [0_u8; 8];
    ["trusted.delegate", "user.delegate"]
        .iter()
        .any(|name| rustix::fs::getxattr(directory, *name, &mut value).is_ok_and(|bytes| value.get(..bytes) == Some(b"1")))
}

impl Trees {
    /// The agent's own.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where an attempt's cgroup is to be.
    pub fn of(&self, attempt: Attempt) -> Cgroup {
        below(&self.cgroup, &format!("{}.{}", attempt.id, attempt.attempt))
    }

    /// Ends every process of every attempt and removes their cgroups. True when nothing is left; call again until it is.
    pub fn end(&self) -> bool {
        let attempts = fs::read_dir(&self.cgroup.directory).into_iter().flatten().flatten();
        let names = attempts.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.file_name());
        let mut is_over = true;
        for name in names {
            let tree = Tree::there(below(&self.cgroup, &name.to_string_lossy()));
            if !tree.is_empty() {
                tree.kill();
            }
            is_over &= tree.remove().is_ok();
        }
        is_over
    }

    /// Removes it, with its record: the agent ends.
    pub fn remove(&self) {
        match Tree::there(self.cgroup.clone()).remove() {
            Ok(()) => record::remove(&self.runtime),
            // The record stays: the next agent on this runtime directory ends what is in there.
            Err(e) => tracing::warn!("cannot remove the cgroup {}: {e}", self.cgroup.directory.display()),
        }
        remove_around(&self.cgroup);
    }
}

fn below(cgroup: &Cgroup, name: &str) -> Cgroup {
    Cgroup { directory: cgroup.directory.join(name), hierarchy: cgroup.hierarchy.clone(), path: format!("{}/{name}", cgroup.path) }
}

/// Removes the directory around a cgroup, if it is one that agents make and nothing else is in it.
pub fn remove_around(cgroup: &Cgroup) {
    if let Some(around) = cgroup.directory.parent().filter(|around| around.file_name().is_some_and(|name| name == NAME)) {
        // Refused while another agent has its cgroup in it.
        let _ = fs::remove_dir(around);
    }
}

/// Removes the cgroup of an agent that is gone, unless something is in it: then the next agent on its runtime directory ends that.
pub fn remove_agents(cgroup: Cgroup) {
    let tree = Tree::there(cgroup);
    if tree.remove().is_ok() {
        remove_around(tree.cgroup());
    }
}
