//! Workers that do not come up: `/status` says why.

use std::path::Path;

use crate::harness::status::Status;
use crate::harness::{Home, Setup};

/// A home in which the agent is no link, so that no worker lies beside its program; nor is one on PATH.
fn home_without_worker() -> Home {
    let mut home = Home::without_programs();
    home.empty_path();
    home.copy_program("agent");
    home.copy_program("controller");
    home
}

fn detail(status: &Status) -> String {
    status.replicas.iter().map(|replica| replica.detail.clone()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_last_words_of_a_worker_that_ends_are_shown() {
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    home.script("worker", "#!/bin/sh\necho starting\necho 'no licence file in /etc/worker' >&2\nexit 7\n");
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.scale(1);
    let status = cluster.wait_status("a replica that waits for its next attempt", |status| {
        status.replicas.iter().any(|replica| replica.state == "backoff" && replica.restarts >= 2 && detail(status).contains("licence"))
    });
    assert!(detail(&status).contains("no licence file in /etc/worker"), "{status:#?}");
    assert!(detail(&status).contains('7'), "the exit code is told: {status:#?}");
    assert_eq!((status.worker().running, status.worker().ready), (0, 0));
    assert!(status.worker().waiting.iter().any(|sentence| sentence.contains("licence")), "{status:#?}");

    // Once the cause is gone it comes up by itself.
    std::fs::remove_file(cluster.home.cwd().join("worker")).unwrap();
    let (_, worker) = crate::harness::home::PROGRAMS[3];
    std::os::unix::fs::symlink(worker, cluster.home.cwd().join("worker")).unwrap();
    let status = cluster.wait_settled(1);
    assert!(status.worker().waiting.is_empty(), "{status:#?}");
}

#[test]
fn a_missing_worker_program_is_named() {
    let home = home_without_worker();
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.scale(2);
    let status = cluster.wait_status("the reason", |status| detail(status).contains("\"worker\""));
    let directory = cluster.home.cwd();
    assert!(detail(&status).contains(&*directory.to_string_lossy()), "it says where it looked: {status:#?}");
    assert_eq!(status.worker().running, 0);
    assert!(status.worker().waiting.iter().any(|sentence| sentence.contains("\"worker\"")), "{status:#?}");
    cluster.settle(0);

    // Put there, it is found.
    cluster.home.copy_program("worker");
    cluster.settle(2);
}

#[test]
fn what_cannot_be_executed_is_no_program() {
    let home = home_without_worker();
    home.file("worker", "#!/bin/sh\nexit 0\n", 0o644);
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.scale(1);
    cluster.wait_status("the reason", |status| detail(status).contains("\"worker\""));
    cluster.settle(0);

    // An executable file that is no program.
    cluster.home.file("worker", "\u{7f}ELF but nothing of it", 0o755);
    cluster.scale(1);
    let program = cluster.home.cwd().join("worker");
    let status = cluster.wait_status("the reason", |status| names(&detail(status), &program));
    assert_eq!(status.worker().ready, 0);
}

fn names(text: &str, path: &Path) -> bool {
    text.contains(&*path.to_string_lossy())
}

#[test]
fn a_worker_that_does_not_listen_gets_no_requests() {
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    home.script("worker", "#!/bin/sh\nexec sleep 600\n");
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.scale(1);
    let status = cluster.wait_status("a process", |status| status.replicas.iter().any(|replica| replica.pid.is_some()));
    assert_eq!((status.replicas[0].state.as_str(), status.replicas[0].ready), ("starting", false));
    cluster.get("/").problem(503);
    cluster.settle(0);
    cluster.wait_processes_match();
}
