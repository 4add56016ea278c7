//! One cgroup: the processes in it and below it, and their end.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::guardian::protocol::Cgroup;
use crate::os::linux::process::kill_if;

/// The most directories that are looked at: a replica may make cgroups below its own.
const DIRECTORIES_MAX: usize = 10_000;

/// A cgroup of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    cgroup: Cgroup,
}

impl Tree {
    /// Makes it. One that is there already is taken only if nothing is in it.
    pub fn make(cgroup: Cgroup) -> io::Result<Self> {
        let tree = Tree { cgroup };
        match fs::create_dir(&tree.cgroup.directory) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                fs::remove_dir(&tree.cgroup.directory).and_then(|()| fs::create_dir(&tree.cgroup.directory))?;
            }
            made => made?,
        }
        Ok(tree)
    }

    /// One that was made before.
    pub fn there(cgroup: Cgroup) -> Self {
        Tree { cgroup }
    }

    /// Those that lie in a cgroup of an agent.
    pub fn below(cgroup: &Cgroup) -> Vec<Self> {
        let entries = fs::read_dir(&cgroup.directory).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let (directory, path) = (cgroup.directory.join(&name), format!("{}/{name}", cgroup.path));
                Tree::there(Cgroup { directory, hierarchy: cgroup.hierarchy.clone(), path })
            })
            .collect()
    }

    /// Which it is.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A process that writes `0` into this is in the cgroup from then on, and so is whatever it starts.
    pub fn door(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().write(true).open(self.file("cgroup.procs"))?.into())
    }

    /// Its directory, for a process to be started in it: version 2 only.
    pub fn into(&self) -> Option<OwnedFd> {
        self.is_unified().then(|| fs::File::open(&self.cgroup.directory).ok().map(OwnedFd::from)).flatten()
    }

    /// Whether a process is in it, or below it. One that ended and was not reaped is so still in version 2, and no longer in version 1.
    pub fn holds(&self, pid: Pid) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap_or_default();
        text.lines().any(|line| {
            let place = line.split_once(':').and_then(|(_, rest)| rest.split_once(':'));
            place.is_some_and(|(name, path)| name == self.cgroup.hierarchy && Path::new(path).starts_with(&self.cgroup.path))
        })
    }

    /// No process is left in it. What cannot be read is taken for not empty.
    pub fn is_empty(&self) -> bool {
        if !self.is_unified() {
            return self.members().is_empty();
        }
        match fs::read_to_string(self.file("cgroup.events")) {
            Ok(text) => text.lines().any(|line| line == "populated 0"),
            Err(e) => e.kind() == ErrorKind::NotFound,
        }
    }

    /// The processes in it and below it.
    pub fn members(&self) -> Vec<Pid> {
        let text = |directory: &PathBuf| fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let pids = |text: String| text.lines().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw).collect::<Vec<_>>();
        self.directories().iter().flat_map(|directory| pids(text(directory))).collect()
    }

    /// SIGKILL to all of them, at once where the kernel can do that (Linux 5.14). Call again until it is empty.
    pub fn kill(&self) {
        if self.is_unified() && fs::write(self.file("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Held still, so that none forks meanwhile; where it cannot be, the next call finds what was started. The file that this
        // cgroup does not have is none of its kind.
        let (hold, still, go) = if self.is_unified() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
        let _ = fs::write(self.file(hold), still);
        let _ = fs::write(self.file("pids.max"), "0");
        for pid in self.members() {
            kill_if(pid, |pid| self.holds(pid));
        }
        let _ = fs::write(self.file(hold), go);
    }

    /// Removes it, with what was made below it. Refused while a process is in it.
    pub fn remove(&self) -> io::Result<()> {
        for directory in self.directories().iter().rev() {
            match fs::remove_dir(directory) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Its own directory and those below it, parents first.
    fn directories(&self) -> Vec<PathBuf> {
        let mut found = vec![self.cgroup.directory.clone()];
        let mut at = 0;
        while let Some(directory) = found.get(at).filter(|_| found.len() < DIRECTORIES_MAX) {
            let below = fs::read_dir(directory).into_iter().flatten().flatten();
            let below: Vec<PathBuf> =
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
            found.extend(below);
            at += 1;
        }
        found
    }

    fn is_unified(&self) -> bool {
        self.cgroup.hierarchy.is_empty()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.cgroup.directory.join(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;
    use std::process::{Child, Command};

    use super::*;
    use crate::os::linux::cgroup::hierarchy::Hierarchy;

    /// A cgroup in each hierarchy of this host that can be written; said loudly where there is none.
    fn trees(test: &str) -> Vec<Tree> {
        let mut made = Vec::new();
        let mut refused = Vec::new();
        for hierarchy in Hierarchy::all() {
            let name = format!("ostler-test-{}", uuid::Uuid::now_v7());
            let path = format!("{}/{name}", hierarchy.own.trim_end_matches('/'));
            let directory = hierarchy.directory(&hierarchy.own).unwrap().join(name);
            match Tree::make(Cgroup { directory, hierarchy: hierarchy.name.clone(), path }) {
                // A cpuset of version 1 takes nobody in before it has processors.
                Ok(tree) if hierarchy.has("cpuset") => tree.remove().unwrap(),
                Ok(tree) => made.push(tree),
                Err(e) => refused.push(format!("{:?}: {e}", hierarchy.name)),
            }
        }
        if made.is_empty() {
            let _ = writeln!(io::stderr(), "\n*** SKIPPED: {test} needs a cgroup that can be written: {refused:?} ***");
        }
        made
    }

    fn inside(tree: &Tree) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(tree.file("cgroup.procs"), child.id().to_string()).unwrap();
        child
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    #[test]
    fn what_is_in_a_cgroup_and_below_it_ends_and_nothing_else() {
        for tree in trees("a cgroup's end") {
            let name = tree.cgroup.hierarchy.clone();
            let (below, beside) = (tree.file("below"), PathBuf::from(format!("{}-beside", tree.cgroup.directory.display())));
            let part = |directory, path| Tree::make(Cgroup { directory, hierarchy: name.clone(), path }).unwrap();
            let below = part(below, format!("{}/below", tree.cgroup.path));
            let beside = part(beside, format!("{}-beside", tree.cgroup.path));
            let mut children = [inside(&tree), inside(&below), inside(&beside)];
            let [one, two, stranger] = children.each_ref().map(pid);
            assert!(tree.holds(one) && tree.holds(two) && !tree.holds(stranger), "{name:?}");
            let mut members = tree.members();
            members.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
            let mut expected = vec![one, two];
            expected.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
            assert_eq!(members, expected, "{name:?}");
            assert!(!tree.is_empty() && tree.remove().is_err(), "{name:?}");

            tree.kill();
            children[0].wait().unwrap();
            children[1].wait().unwrap();
            assert!(tree.is_empty() && !beside.is_empty(), "{name:?}");
            assert!(children[2].try_wait().unwrap().is_none(), "{name:?}");
            tree.remove().unwrap();
            assert!(!tree.cgroup.directory.exists() && tree.is_empty(), "{name:?}");

            beside.kill();
            children[2].wait().unwrap();
            beside.remove().unwrap();
        }
    }

    #[test]
    fn one_that_is_there_already_is_taken_only_if_nothing_is_in_it() {
        for tree in trees("a cgroup that is there") {
            let mut child = inside(&tree);
            assert!(Tree::make(tree.cgroup.clone()).is_err());
            assert!(child.try_wait().unwrap().is_none());
            tree.kill();
            child.wait().unwrap();
            Tree::make(tree.cgroup.clone()).unwrap().remove().unwrap();
        }
    }

    #[test]
    fn what_ended_and_was_not_reaped_leaves_it_empty() {
        for tree in trees("a cgroup of a zombie") {
            let mut child = inside(&tree);
            tree.kill();
            let stat = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            while !stat().contains(") Z ") {
                std::thread::yield_now();
            }
            assert_eq!(tree.holds(pid(&child)), tree.is_unified(), "{:?}", tree.cgroup.hierarchy);
            while !tree.is_empty() {
                std::thread::yield_now();
            }
            child.wait().unwrap();
            tree.remove().unwrap();
        }
    }
}
