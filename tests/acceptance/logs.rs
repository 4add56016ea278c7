//! What replicas write.

use crate::harness::lines::Lines;
use crate::harness::{Call, Cluster, Home, PATIENCE, Setup, status::Replica, wait_for};

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
    for bad in ["tail=x", "tail=-1", "follow=perhaps"] {
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
    // 30 MB, then it serves: were nobody reading, it would never come so far.
    let script = format!("#!/bin/sh\nhead -c 30000000 /dev/zero | tr '\\0' 'x' | fold -w 99\nexec {}\n", env!("CARGO_BIN_EXE_worker"));
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
    assert!(bytes < 25_000_000, "{bytes} bytes of output are kept");
}
