//! Where in a hierarchy an agent's cgroup lies, and what it takes to have controllers there.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::hierarchy::Hierarchy;
use super::limit::CONTROLLERS;
use crate::guardian::protocol::Cgroup;

/// What all agents' cgroups in one place lie in.
const NAME: &str = "ostler";
/// How often the making of a directory is tried again, because an agent that ends has just removed the one around it.
const TRIES: u32 = 5;

/// A cgroup in which agents may have theirs.
#[derive(Debug)]
pub struct Place {
    hierarchy: String,
    directory: PathBuf,
    path: String,
}

impl Place {
    /// The one in this hierarchy.
    pub fn of(hierarchy: &Hierarchy) -> io::Result<Self> {
        let outside = || io::Error::new(ErrorKind::NotFound, "this process is outside of what is mounted");
        let given = delegated_around(hierarchy);
        let given = given.as_deref().unwrap_or(&hierarchy.own);
        let own = hierarchy.directory(given).ok_or_else(outside)?;
        let has_own_place = hierarchy.is_unified() && geteuid().is_root() && !is_delegated(&own);
        let path = if has_own_place { hierarchy.root() } else { given };
        if !has_own_place {
            // To move a process, the cgroup around both its old and its new one must be writable (cgroups(7), "Delegation").
            OpenOptions::new().write(true).open(own.join("cgroup.procs"))?;
        }
        let directory = hierarchy.directory(path).ok_or_else(outside)?;
        Ok(Place { hierarchy: hierarchy.name.clone(), directory, path: path.trim_end_matches('/').to_owned() })
    }

    /// Makes an agent's cgroup there, of a name that no other has.
    pub fn make(&self, name: &str) -> io::Result<Cgroup> {
        let around = self.directory.join(NAME);
        let directory = around.join(name);
        let mut tries = 0;
        loop {
            tries += 1;
            match fs::create_dir(&around) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            match fs::create_dir(&directory) {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::NotFound && tries < TRIES => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Cgroup { directory, hierarchy: self.hierarchy.clone(), path: format!("{}/{NAME}/{name}", self.path) })
    }

    /// In version 2: lets attempts in an agent's cgroup have controllers, and tells which they have. What is refused is not
    /// enforced, and said so where it is asked for.
    pub fn enable_controllers(&self, agents: &Cgroup) -> Vec<&'static str> {
        let around = self.directory.join(NAME);
        let enable = |directory: &Path, controller: &str| fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        let mut enabled = Vec::new();
        for controller in CONTROLLERS.iter().filter(|controller| lists(&self.directory.join("cgroup.controllers"), controller)) {
            if !lists(&self.directory.join("cgroup.subtree_control"), controller) {
                let refused = enable(&self.directory, controller).err();
                // A cgroup that gives controllers to those below has no process of its own (cgroups(7), "no internal processes"): the
                // agent that is there alone goes into a leaf. The guardian is started there later.
                if refused.is_some_and(|e| e.kind() == ErrorKind::ResourceBusy) && self.move_into_leaf(&around.join("agent")) {
                    let _ = enable(&self.directory, controller);
                }
            }
            if enable(&around, controller).and_then(|()| enable(&agents.directory, controller)).is_ok() {
                enabled.push(*controller);
            }
        }
        if !CONTROLLERS.iter().any(|controller| lists(&self.directory.join("cgroup.subtree_control"), controller)) {
            self.leave_leaf(&around.join("agent"));
        }
        enabled
    }

    fn move_into_leaf(&self, leaf: &Path) -> bool {
        // Another process there would keep the rule from being met; then this one has no reason to move.
        let own = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        let is_alone = own.trim() == std::process::id().to_string();
        is_alone && (fs::create_dir(leaf).is_ok() || leaf.is_dir()) && fs::write(leaf.join("cgroup.procs"), "0").is_ok()
    }

    fn leave_leaf(&self, leaf: &Path) {
        if leaf.is_dir() {
            let _ = fs::write(self.directory.join("cgroup.procs"), "0");
            // Refused while another agent is in it.
            let _ = fs::remove_dir(leaf);
        }
    }
}

/// Whether a file has this word.
fn lists(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).unwrap_or_default().split_ascii_whitespace().any(|found| found == word)
}

/// The delegated cgroup around this process's own, where a service manager starts it in a part of that, so that what was given away has no
/// process of its own (systemd: `DelegateSubgroup=`).
fn delegated_around(hierarchy: &Hierarchy) -> Option<String> {
    let own = Path::new(&hierarchy.own);
    let is_delegated_at = |path: &str| hierarchy.directory(path).is_some_and(|directory| is_delegated(&directory));
    // Units have names of these kinds; a part of one has none.
    let is_unit = own.extension().is_some_and(|kind| kind == "scope" || kind == "service" || kind == "slice");
    let around = own.parent()?.to_str()?;
    (hierarchy.is_unified() && !is_unit && !is_delegated_at(&hierarchy.own) && is_delegated_at(around)).then(|| around.to_owned())
}

/// A service manager gave this cgroup away (systemd: `Delegate=yes`), and marked it so.
fn is_delegated(directory: &Path) -> bool {
    let mut value = [0_u8; 8];
    ["trusted.delegate", "user.delegate"]
        .iter()
        .any(|name| rustix::fs::getxattr(directory, *name, &mut value).is_ok_and(|bytes| value.get(..bytes) == Some(b"1")))
}

/// Removes the directory around an agent's cgroup, if nothing else is in it.
pub fn remove_around(cgroup: &Cgroup) {
    if let Some(around) = cgroup.directory.parent().filter(|around| around.file_name().is_some_and(|name| name == NAME)) {
        // Refused while another agent has its cgroup in it.
        let _ = fs::remove_dir(around);
    }
}
