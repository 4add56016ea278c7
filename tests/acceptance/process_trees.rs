//! Workers that start processes of their own, and hide them.

use crate::harness::{Cluster, Home, PATIENCE, Setup, needs, processes, wait_for, wait_until};

/// Two grandchildren in sessions of their own, one of them deaf to SIGTERM, then the worker itself.
const FORKING: &str = "#!/bin/sh
(setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' &)
(setsid sleep 2000 &)
exec BINARY
";

fn forking(agents: usize) -> Option<Cluster> {
    if !needs::is_there("a worker that forks", "setsid", needs::program("setsid").is_some()) {
        return None;
    }
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    home.script("worker", &FORKING.replace("BINARY", env!("CARGO_BIN_EXE_worker")));
    let cluster = Setup::new().agents(agents).start_in(home);
    cluster.settle(2);
    // The worker, the deaf shell and what it waits for, and the other.
    wait_for(PATIENCE, "all processes of two trees", || {
        let count = cluster.replica_processes().len();
        if count == 8 { Ok(()) } else { Err(format!("{count} processes")) }
    });
    Some(cluster)
}

#[test]
fn nothing_of_a_tree_is_left_when_its_replica_is_stopped() {
    let Some(cluster) = forking(1) else { return };
    cluster.scale(0);
    // The deaf one costs the whole grace.
    wait_until(PATIENCE * 2, "end of all processes of the replicas", || cluster.replica_processes().is_empty());
    cluster.wait_settled(0);
}

#[test]
fn nothing_of_a_tree_is_left_when_its_first_process_dies() {
    let Some(cluster) = forking(1) else { return };
    let before = cluster.status();
    let old: Vec<u32> = cluster.replica_processes();
    for replica in &before.replicas {
        let pid = rustix::process::Pid::from_raw(i32::try_from(replica.pid.unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    for pid in old {
        wait_until(PATIENCE, "end of what the first process left", || !processes::is_alive(pid));
    }
    cluster.wait_settled(2);
    wait_until(PATIENCE, "two whole trees again", || cluster.replica_processes().len() == 8);
}

#[test]
fn nothing_of_a_tree_outlives_its_agent() {
    let Some(mut cluster) = forking(1) else { return };
    cluster.agents[0].program.kill();
    wait_until(PATIENCE, "end of all processes of the replicas", || cluster.replica_processes().is_empty());
}

#[test]
fn nothing_of_a_tree_outlives_its_guardian() {
    let Some(cluster) = forking(1) else { return };
    let old = cluster.replica_processes();
    let guardian = rustix::process::Pid::from_raw(i32::try_from(cluster.agents[0].guardian()).unwrap()).unwrap();
    rustix::process::kill_process(guardian, rustix::process::Signal::KILL).unwrap();
    for pid in old {
        wait_until(PATIENCE, "end of what the guardian left", || !processes::is_alive(pid));
    }
    cluster.wait_settled(2);
}

#[test]
fn the_next_agent_ends_what_is_left_when_both_died() {
    let Some(mut cluster) = forking(1) else { return };
    let guardian = rustix::process::Pid::from_raw(i32::try_from(cluster.agents[0].guardian()).unwrap()).unwrap();
    cluster.agents[0].program.freeze();
    rustix::process::kill_process(guardian, rustix::process::Signal::STOP).unwrap();
    rustix::process::kill_process(guardian, rustix::process::Signal::KILL).unwrap();
    cluster.agents[0].program.kill();
    let left = cluster.replica_processes();
    cluster.restart_agent(0);
    for pid in left {
        wait_until(PATIENCE, "end of what both left", || !processes::is_alive(pid));
    }
    cluster.wait_settled(2);
}
