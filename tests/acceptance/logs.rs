//! What replicas write.

use std::process::Command;

use crate::harness::lines::Lines;
use crate::harness::program::{self, Ended};
use crate::harness::{Call, Cluster, Home, PATIENCE, Setup, needs, status::Replica, wait_for};

/// A worker that writes lines before it serves.
const TALKATIVE: &str = "#!/bin/sh
i=1
while [ $i -le 50 ]; do echo \"out $i\"; echo \"err $i\" >&2; i=$((i + 1)); done
exec BINARY
";

fn talkative() -> (Cluster, Replica) {
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    home.script("worker", &TALKATIVE.replace("BINARY", env!("CARGO_BIN_EXE_worker")));
    let cluster = Setup::new().agents(1).start_in(home);
    let replica = cluster.settle(1).replicas[0].clone();
    (cluster, replica)
}

#[test]
fn output_is_read_through_the_controller_and_from_the_agent() {
    let (cluster, replica) = talkative();
    let target = format!("/v1/replicas/{}/logs?tail=200", replica.id);
    for address in [cluster.address(), cluster.agents[0].address()] {
        let text = wait_for(PATIENCE, "all that was written", || {
            let text = Call::get(&target).send(address).ok().text();
            if text.contains("listening on") && text.contains("err 50") { Ok(text) } else { Err(text) }
        });
        for line in ["out 1", "out 50", "err 1", "err 50"] {
            assert!(text.lines().any(|other| other.ends_with(line)), "no \"{line}\" in {text}");
        }
        let short = Call::get(&format!("/v1/replicas/{}/logs?tail=3", replica.id)).send(address).ok().text();
        assert!((1..=6).contains(&short.lines().count()), "the last lines only: {short}");
    }
    for bad in ["tail=x", "tail=-1", "follow=perhaps", "since=yesterday", "timestamps=1", "stream=x", "nope=1"] {
        Call::get(&format!("/v1/replicas/{}/logs?{bad}", replica.id)).send(cluster.address()).problem(400);
    }
}

#[test]
fn output_is_followed_while_it_is_written() {
    let (cluster, replica) = talkative();
    let mut lines = Lines::open(cluster.address(), &Call::get(&format!("/v1/replicas/{}/logs?tail=5&follow=true", replica.id)));
    // It ends, says so, starts again, and the stream goes on.
    let _ = Call::post("/crash?code=3", "").try_send(cluster.address());
    let mut texts = Vec::new();
    loop {
        match lines.next_text(PATIENCE).unwrap_or_else(|error| panic!("{error} after {texts:#?}")) {
            Some(text) if text.contains("a crash was asked for") => break,
            Some(text) => texts.push(text),
            None => panic!("the stream ended after {texts:#?}"),
        }
    }
    drop(lines);
    cluster.wait_settled(1);
}

#[test]
fn a_worker_that_writes_without_end_is_not_held_up_and_fills_no_disk() {
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    // 130 MB, then it serves: were nobody reading, it would never come so far.
    let script = format!("#!/bin/sh\nhead -c 130000000 /dev/zero | tr '\\0' 'x' | fold -w 99\nexec {}\n", env!("CARGO_BIN_EXE_worker"));
    home.script("worker", &script);
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.settle(1);
    let mut bytes = 0;
    let mut directories = vec![cluster.agents[0].runtime_dir.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata().unwrap().len();
            }
        }
    }
    assert!((50_000_000..=10 * 10 * 1024 * 1024).contains(&bytes), "{bytes} bytes of output are kept");
}

fn ostler(cluster: &Cluster, args: &[&str]) -> Ended {
    let mut command = cluster.home.command(&cluster.home.cwd().join("ostler").to_string_lossy());
    program::run(&cluster.home, command.args(args).env("OSTLER_CONTROLLER", cluster.controller.url()))
}

#[test]
fn an_operator_asks_for_a_time_and_for_times() {
    let (cluster, replica) = talkative();
    let plain = ostler(&cluster, &["logs", &replica.id, "--tail", "1000"]);
    assert_eq!((plain.code, plain.stderr.as_str()), (Some(0), ""), "{plain:?}");
    assert!(plain.stdout.lines().any(|line| line == "err 50"), "no times unless they are asked for: {}", plain.stdout);
    let timed = ostler(&cluster, &["logs", &replica.id, "--tail", "1000", "--timestamps"]).stdout;
    let found = timed.lines().find(|line| line.ends_with("Z stderr err 7")).unwrap_or_else(|| panic!("{timed}"));
    let time = found.split(' ').next().unwrap();
    let since = ostler(&cluster, &["logs", &replica.id, "--since", time, "--tail", "1000"]).stdout;
    assert!(since.contains("err 7\n") && since.contains("err 50\n") && since.len() <= plain.stdout.len(), "{since}");
    assert_eq!(ostler(&cluster, &["logs", &replica.id, "--since", "2200-01-01T00:00:00Z"]).stdout, "");
    let ago = ostler(&cluster, &["logs", &replica.id, "--since", "1h", "--tail", "1000"]).stdout;
    assert_eq!(ago, plain.stdout);
    let bad = ostler(&cluster, &["logs", &replica.id, "--since", "yesterday"]);
    assert!(bad.code == Some(2) && bad.stderr.contains("RFC 3339"), "{bad:?}");
}

#[test]
fn what_a_replica_wrote_is_there_when_it_is_gone_and_its_agent_was_restarted() {
    let (mut cluster, replica) = talkative();
    cluster.scale(0);
    cluster.wait_status("no replicas", |status| status.replicas.is_empty());
    let read = |cluster: &Cluster| {
        let ended = ostler(cluster, &["logs", &replica.id, "--tail", "1000"]);
        if ended.stdout.contains("out 50\n") && ended.stdout.contains("err 50\n") { Ok(ended) } else { Err(format!("{ended:?}")) }
    };
    wait_for(PATIENCE, "its output", || read(&cluster));
    // One that is gone is not waited for.
    let followed = Call::get(&format!("/v1/replicas/{}/logs?follow=true&tail=1", replica.id)).send(cluster.address()).ok().text();
    assert_eq!(followed.lines().count(), 1, "{followed}");
    cluster.agents[0].program.kill();
    cluster.restart_agent(0);
    wait_for(PATIENCE, "its output from the next agent", || read(&cluster));
    let nobody = ostler(&cluster, &["logs", "0199b1c2-7d3e-7abc-8def-0123456789ab"]);
    assert!(nobody.code == Some(1) && nobody.stderr.lines().count() == 1 && nobody.stderr.contains("0199b1c2-7d3e"), "{nobody:?}");
}

#[test]
fn a_disk_that_is_full_is_told_and_hurts_no_replica() {
    if !needs::is_there("a_disk_that_is_full", "root, and a tmpfs to mount", needs::is_root()) {
        return;
    }
    let home = Home::new();
    // Not below the home, which is removed with the cluster: a directory on which something is mounted cannot be.
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().to_owned();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&disk).status();
    if !needs::is_there("a_disk_that_is_full", "the right to mount a tmpfs", mounted.is_ok_and(|status| status.success())) {
        return;
    }
    let _mount = Mount(directory);
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    let flood = "(while :; do head -c 100000 /dev/zero | tr '\\0' 'x' | fold -w 99; sleep 0.05; done) &";
    home.script("worker", &format!("#!/bin/sh\n{flood}\nexec {}\n", env!("CARGO_BIN_EXE_worker")));
    let cluster = Setup::new().agents(1).agent_args(&["--log-dir", &disk.join("logs").to_string_lossy()]).start_in(home);
    cluster.settle(1);
    let full = cluster.wait_status("a disk that is full", |status| {
        status.replicas.iter().any(|replica| replica.log_dropped_bytes > 0 && replica.detail.contains("No space left"))
    });
    assert!(
        full.replicas[0].ready && full.replicas[0].restarts == 0 && full.replicas[0].detail.contains(&*disk.to_string_lossy()),
        "{full:#?}"
    );
    // Room again.
    let more = Command::new("mount").args(["-o", "remount,size=256m"]).arg(&disk).status().unwrap();
    assert!(more.success());
    let well = cluster.wait_status("a disk that takes it", |status| status.replicas.iter().all(|replica| replica.detail.is_empty()));
    assert!(well.replicas[0].ready && well.replicas[0].restarts == 0 && well.replicas[0].log_dropped_bytes > 0, "{well:#?}");
    let text = Call::get(&format!("/v1/replicas/{}/logs", well.replicas[0].id)).send(cluster.address()).ok().text();
    assert!(text.contains("bytes of output were dropped here: cannot write"), "{} bytes", text.len());
}

/// A mount, until the end of a test.
struct Mount(tempfile::TempDir);

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the agent may still be there.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
