//! Replicas in cgroups of their own: what nothing else would find is ended, and what is not the agent's is not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::harness::{Cluster, Home, PATIENCE, Setup, needs, processes, wait_for, wait_until};

/// A daemon that left session, environment and output behind, then the worker itself.
const HIDING: &str = "#!/bin/sh
env -i setsid sleep MARK >/dev/null 2>&1 </dev/null &
exec BINARY
";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An agent with two replicas that hide a daemon each, and the length of its sleep, by which it is found.
struct Hiding {
    cluster: Cluster,
    mark: String,
}

impl Hiding {
    fn start(test: &str) -> Option<Self> {
        if !needs::is_there(test, "setsid", needs::program("setsid").is_some()) {
            return None;
        }
        let home = Home::new();
        fs::remove_file(home.cwd().join("worker")).unwrap();
        let mark = format!("1000.{}0{}1", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        home.script("worker", &HIDING.replace("MARK", &mark).replace("BINARY", env!("CARGO_BIN_EXE_worker")));
        let cluster = Setup::new().agents(1).start_in(home);
        let hiding = Hiding { cluster, mark };
        hiding.settle().then_some(hiding).filter(|hiding| hiding.has_cgroups(test))
    }

    fn settle(&self) -> bool {
        self.cluster.settle(2);
        wait_until(PATIENCE, "two daemons", || self.daemons().len() == 2);
        true
    }

    fn has_cgroups(&self, test: &str) -> bool {
        let known_by: Vec<Option<String>> = self.cluster.status().replicas.into_iter().map(|replica| replica.tree).collect();
        let session = known_by.iter().any(|tree| tree.as_deref() == Some("session"));
        assert!(session || known_by.iter().all(|tree| tree.as_deref() == Some("cgroup")), "{known_by:?}");
        needs::is_there(test, "a cgroup hierarchy that can be written", !session)
    }

    fn daemons(&self) -> Vec<u32> {
        let sleeps = |seen: &processes::Seen| seen.command.trim() == format!("sleep {}", self.mark);
        processes::all().into_iter().filter(sleeps).map(|seen| seen.pid).collect()
    }

    /// The directory that the agent has on record.
    fn cgroup(&self) -> PathBuf {
        let text = fs::read_to_string(self.cluster.agents[0].runtime_dir.join("cgroup")).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        PathBuf::from(record["cgroups"][0]["cgroup"]["directory"].as_str().unwrap())
    }

    /// Agent and guardian at once, so that neither sees the other end.
    fn kill_both(&mut self) {
        let guardian = self.cluster.agents[0].guardian();
        processes::signal(guardian, rustix::process::Signal::STOP);
        self.cluster.agents[0].program.freeze();
        processes::kill(guardian);
        self.cluster.agents[0].program.kill();
        wait_until(PATIENCE, "end of the guardian", || !processes::is_alive(guardian));
    }
}

/// A stranger in a cgroup; it ends, and the cgroup with it, when this is dropped.
struct Stranger {
    child: Child,
    directory: PathBuf,
}

impl Stranger {
    fn in_new(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).unwrap();
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        Stranger { child, directory }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.directory);
        let _ = self.directory.parent().map(fs::remove_dir);
    }
}

fn directories_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect()
}

#[test]
fn the_next_agent_ends_what_hid_from_all_but_its_cgroup_when_both_died() {
    let Some(mut hiding) = Hiding::start("a hidden daemon and the death of both") else { return };
    let cgroup = hiding.cgroup();
    hiding.kill_both();
    let daemons = hiding.daemons();
    assert_eq!(daemons.len(), 2, "nobody was there to end them");
    hiding.cluster.restart_agent(0);
    for pid in daemons {
        assert!(!processes::is_alive(pid), "an agent is ready once it has ended what was left");
    }
    assert!(!cgroup.exists(), "{}", cgroup.display());
    hiding.cluster.wait_settled(2);
    assert_ne!(hiding.cgroup(), cgroup);
}

#[test]
fn a_daemon_that_hides_ends_with_its_replica_and_so_does_its_cgroup() {
    let Some(mut hiding) = Hiding::start("a hidden daemon") else { return };
    let cgroup = hiding.cgroup();
    assert_eq!(directories_in(&cgroup).len(), 2);
    let old = hiding.daemons();
    for replica in hiding.cluster.status().replicas {
        processes::kill(replica.pid.unwrap());
    }
    for pid in &old {
        wait_until(PATIENCE, "end of the daemon of a replica that was killed", || !processes::is_alive(*pid));
    }
    hiding.settle();
    wait_for(PATIENCE, "one cgroup for each replica", || {
        let there = directories_in(&cgroup);
        if there.len() == 2 { Ok(()) } else { Err(format!("{there:?}")) }
    });
    let old = hiding.daemons();
    processes::kill(hiding.cluster.agents[0].guardian());
    for pid in &old {
        wait_until(PATIENCE, "end of the daemon when the guardian was killed", || !processes::is_alive(*pid));
    }
    hiding.settle();
    hiding.cluster.scale(0);
    wait_until(PATIENCE * 2, "end of all daemons", || hiding.daemons().is_empty());
    wait_until(PATIENCE, "end of all cgroups of replicas", || directories_in(&cgroup).is_empty());
    hiding.settle();
    hiding.cluster.agents[0].program.interrupt();
    assert!(hiding.cluster.agents[0].program.wait_end(PATIENCE * 2).success());
    assert!(hiding.daemons().is_empty() && !cgroup.exists(), "{}", cgroup.display());
}

#[test]
fn a_guardian_whose_agent_was_killed_leaves_neither_daemon_nor_cgroup() {
    let Some(mut hiding) = Hiding::start("a hidden daemon and the death of the agent") else { return };
    let cgroup = hiding.cgroup();
    hiding.cluster.agents[0].program.kill();
    wait_until(PATIENCE, "end of all daemons", || hiding.daemons().is_empty());
    wait_until(PATIENCE, "end of the agent's cgroup", || !cgroup.exists());
}

#[test]
fn an_agent_that_was_killed_while_it_ran_nothing_leaves_no_cgroup() {
    let Some(mut hiding) = Hiding::start("the death of an agent that runs nothing") else { return };
    let cgroup = hiding.cgroup();
    hiding.cluster.scale(0);
    wait_until(PATIENCE * 2, "end of all cgroups of replicas", || directories_in(&cgroup).is_empty());
    hiding.cluster.agents[0].program.kill();
    wait_until(PATIENCE, "end of the agent's cgroup", || !cgroup.exists());
}

#[test]
fn a_stranger_in_a_cgroup_of_the_same_name_is_not_touched() {
    let Some(mut hiding) = Hiding::start("a cgroup of the same name") else { return };
    let cgroup = hiding.cgroup();
    hiding.kill_both();
    for pid in hiding.daemons() {
        processes::kill(pid);
        wait_until(PATIENCE, "end of a daemon", || !processes::is_alive(pid));
    }
    wait_until(PATIENCE, "removal of what the agent made", || {
        directories_in(&cgroup).iter().for_each(|directory| drop(fs::remove_dir(directory)));
        fs::remove_dir(&cgroup).is_ok()
    });
    let mut stranger = Stranger::in_new(cgroup.clone());
    hiding.cluster.restart_agent(0);
    hiding.cluster.wait_settled(2);
    assert!(stranger.child.try_wait().unwrap().is_none(), "the stranger was ended");
    assert!(cgroup.exists());
    assert!(hiding.cluster.agents[0].program.log().contains("is left alone"), "{}", hiding.cluster.agents[0].program.log());
}

#[test]
fn strangers_beside_and_above_the_cgroup_of_an_agent_are_not_touched() {
    let Some(mut hiding) = Hiding::start("strangers beside an agent's cgroup") else { return };
    let cgroup = hiding.cgroup();
    let mut beside = Stranger::in_new(cgroup.with_file_name(format!("{}-stranger", cgroup.file_name().unwrap().to_str().unwrap())));
    hiding.kill_both();
    hiding.cluster.restart_agent(0);
    hiding.cluster.wait_settled(2);
    hiding.cluster.agents[0].program.interrupt();
    assert!(hiding.cluster.agents[0].program.wait_end(PATIENCE * 2).success());
    assert!(beside.child.try_wait().unwrap().is_none(), "the stranger was ended");
}

/// The agent sees no hierarchy at all: its own mounts, in which there is none.
#[test]
fn without_a_cgroup_a_tree_is_known_by_session_and_environment() {
    let may = needs::is_root() && needs::program("unshare").is_some() && needs::program("setsid").is_some();
    if !needs::is_there("a host without cgroups", "root, and the programs unshare and setsid", may) {
        return;
    }
    let home = Home::new();
    for name in ["agent", "worker"] {
        fs::remove_file(home.cwd().join(name)).unwrap();
    }
    let unmount = "while umount -l /sys/fs/cgroup 2>/dev/null; do :; done";
    let agent = env!("CARGO_BIN_EXE_agent");
    home.script("agent", &format!("#!/bin/sh\nexec unshare -m sh -c '{unmount}; exec {agent} \"$@\"' agent \"$@\"\n"));
    home.script("worker", &format!("#!/bin/sh\n(setsid sleep 2000 &)\nexec {}\n", env!("CARGO_BIN_EXE_worker")));
    let mut cluster = Setup::new().agents(1).start_in(home);
    let status = cluster.settle(2);
    assert!(status.replicas.iter().all(|replica| replica.tree.as_deref() == Some("session")), "{status:#?}");
    assert!(cluster.agents[0].program.log().contains("no cgroup can be written"), "{}", cluster.agents[0].program.log());
    wait_until(PATIENCE, "two whole trees", || cluster.replica_processes().len() == 4);
    processes::kill(status.replicas[0].pid.unwrap());
    cluster.wait_settled(2);
    wait_until(PATIENCE, "two whole trees again", || cluster.replica_processes().len() == 4);
    cluster.agents[0].program.kill();
    wait_until(PATIENCE, "end of all processes of the replicas", || cluster.replica_processes().is_empty());
}
