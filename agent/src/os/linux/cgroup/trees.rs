//! An agent's own cgroups, in which each attempt gets one: one that holds its processes, and in version 1 those that limit them.
//!
//! They lie below the ones that the agent is in, where those were delegated to it; root has a place of its own at the top of version 2,
//! since what a service manager did not delegate is not to be touched. In version 1 they always lie below the agent's own: a limit that
//! holds for the agent holds for its replicas.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Tree;
use super::hierarchy::Hierarchy;
use super::limit::CONTROLLERS;
use super::place::{Place, remove_around};
use super::record;
use crate::guardian::protocol::{Attempt, Cgroup};

/// The cgroups of a running agent.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    /// Holds the processes.
    cgroup: Cgroup,
    /// In version 1: for limits that the one above has no controller for.
    limiters: Vec<Cgroup>,
    /// Where the record lies.
    runtime: PathBuf,
}

/// The cgroups of the agent before this one on its runtime directory, in which replicas that are kept may be; else new ones.
pub(crate) fn keep_trees(runtime: &Path) -> Option<Trees> {
    let mut left = record::left_in(runtime).into_iter().map(|tree| tree.cgroup().clone());
    match left.next() {
        // The record has the one that holds processes first.
        Some(cgroup) => Some(Trees { cgroup, limiters: left.collect(), runtime: runtime.to_owned() }),
        None => make_trees(runtime),
    }
}

/// Makes the cgroups for the agent of this runtime directory; `None`, with a line in the log, where none can be written.
pub(crate) fn make_trees(runtime: &Path) -> Option<Trees> {
    let name = Uuid::now_v7().to_string();
    let hierarchies = Hierarchy::all();
    let mut refused = Vec::new();
    for hierarchy in hierarchies.iter().filter(|hierarchy| can_hold(hierarchy)) {
        let made = Place::of(hierarchy).and_then(|place| Ok((place.make(&name)?, place)));
        match made {
            Ok((cgroup, place)) => {
                let enabled = if hierarchy.is_unified() { place.enable_controllers(&cgroup) } else { vec![] };
                let limiters = limiters(&hierarchies, hierarchy, &enabled, &name);
                let trees = Trees { cgroup, limiters, runtime: runtime.to_owned() };
                match record::write(runtime, &trees.all()) {
                    Ok(()) => {
                        tracing::info!(cgroup = %trees.cgroup.directory.display(), "each replica gets a cgroup of its own");
                        return Some(trees);
                    }
                    // Without a record the next agent could not know them again.
                    Err(e) => {
                        trees.remove();
                        refused.push(format!("its record cannot be written: {e}"));
                    }
                }
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

/// Cgroups for what version 2 has no controller for. What cannot be made is not enforced, and said so where it is asked for.
fn limiters(all: &[Hierarchy], holder: &Hierarchy, enabled: &[&str], name: &str) -> Vec<Cgroup> {
    let mut made: Vec<Cgroup> = Vec::new();
    for controller in CONTROLLERS.iter().filter(|controller| !enabled.contains(controller)) {
        let Some(hierarchy) = all.iter().find(|hierarchy| hierarchy.has(controller)) else { continue };
        if hierarchy == holder || made.iter().any(|cgroup| cgroup.hierarchy == hierarchy.name) {
            continue;
        }
        match Place::of(hierarchy).and_then(|place| place.make(name)) {
            Ok(cgroup) => made.push(cgroup),
            Err(e) => tracing::debug!("no cgroup of {controller} can be written: {e}"),
        }
    }
    made
}

impl Trees {
    /// The agent's own.
    pub fn all(&self) -> Vec<Cgroup> {
        [&self.cgroup].into_iter().chain(&self.limiters).cloned().collect()
    }

    /// Where an attempt's cgroup is to be.
    pub fn of(&self, attempt: Attempt) -> Cgroup {
        below(&self.cgroup, &name_of(attempt))
    }

    /// Where those are to be that limit it.
    pub fn limiters(&self, attempt: Attempt) -> Vec<Cgroup> {
        self.limiters.iter().map(|cgroup| below(cgroup, &name_of(attempt))).collect()
    }

    /// Ends every process of every attempt and removes their cgroups. True when nothing is left; call again until it is.
    pub fn end(&self) -> bool {
        let mut is_over = true;
        for cgroup in self.all() {
            for tree in Tree::below(&cgroup) {
                if !tree.is_empty() {
                    tree.kill();
                }
                is_over &= tree.remove().is_ok();
            }
        }
        is_over
    }

    /// Removes them, with their record: the agent ends.
    pub fn remove(&self) {
        let left: Vec<Cgroup> = self.all().into_iter().filter(|cgroup| !remove_agents(cgroup)).collect();
        if left.is_empty() {
            record::remove(&self.runtime);
        }
        // The record stays: the next agent on this runtime directory ends what is in there.
        for cgroup in left {
            tracing::warn!("cannot remove the cgroup {}: something is in it", cgroup.directory.display());
        }
    }
}

fn name_of(attempt: Attempt) -> String {
    format!("{}.{}", attempt.id, attempt.attempt)
}

fn below(cgroup: &Cgroup, name: &str) -> Cgroup {
    Cgroup { directory: cgroup.directory.join(name), hierarchy: cgroup.hierarchy.clone(), path: format!("{}/{name}", cgroup.path) }
}

/// Removes a cgroup of an agent that ends or is gone. False if something is in it.
pub fn remove_agents(cgroup: &Cgroup) -> bool {
    let is_removed = Tree::there(cgroup.clone()).remove().is_ok();
    remove_around(cgroup);
    is_removed
}
