//! What replicas write is kept, bounded, read, and never in their way.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, new_id, this_program};
use crate::http::{self, get};
use crate::proc::{signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("logs::times_and_streams", times_and_streams),
    ("logs::odd_output", odd_output),
    ("logs::rotated_while_they_are_followed", rotated_while_they_are_followed),
    ("logs::kept_when_the_replica_and_the_agent_are_gone", kept_when_the_replica_and_the_agent_are_gone),
    ("logs::guardian_killed", guardian_killed),
    ("logs::full_disk", full_disk),
    ("logs::directory_that_cannot_be_used", directory_that_cannot_be_used),
    ("logs::file_removed_and_cut", file_removed_and_cut),
    ("logs::never_in_the_way", never_in_the_way),
    ("logs::many_that_write", many_that_write),
];

const SOON: Duration = Duration::from_secs(20);

/// Runs one replica of `app`, with what its spec says of logs. Its id is known before it begins.
fn run(agent: &mut Agent, id: &str, command: &[&str], logs: Value) {
    agent.ids.push(id.to_owned());
    let spec = json!({ "command": command, "grace_ms": 400, "logs": logs });
    let replica = json!([{ "id": id, "app": "app", "revision": 1, "phase": "run" }]);
    let answer = agent.put(json!({ "specs": { "app@1": spec }, "replicas": replica }));
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn directory(home: &Home, id: &str) -> PathBuf {
    home.runtime().join("logs").join(format!("app.{id}"))
}

fn read(agent: &Agent, id: &str, query: &str) -> String {
    let answer = get(agent.port, &format!("/v1/replicas/{id}/logs?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn wait_text(agent: &Agent, id: &str, query: &str, text: &str) -> String {
    wait_for(&format!("{text:?} is in the log"), SOON, || {
        let answer = get(agent.port, &format!("/v1/replicas/{id}/logs?{query}"));
        answer.body.contains(text).then_some(answer.body)
    })
}

fn names(home: &Home, id: &str) -> Vec<String> {
    let mut names = crate::agent_process::names_in(&directory(home, id));
    names.sort_unstable();
    names
}

fn times_and_streams() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    run(&mut agent, &id, &["sh", "-c", "echo one; sleep 0.2; echo two >&2; sleep 1.2; echo three; exec sleep 1000"], json!({}));
    wait_text(&agent, &id, "", "three\n");
    assert_eq!(read(&agent, &id, ""), "one\ntwo\nthree\n");
    assert_eq!(names(&home, &id), ["000001.log"]);
    let lines = read(&agent, &id, "timestamps=true");
    let fields: Vec<Vec<&str>> = lines.lines().map(|line| line.split(' ').collect()).collect();
    assert!(fields.iter().all(|line| line[0].len() == 27 && line[0].ends_with('Z') && line[0].starts_with("20")), "{lines}");
    assert_eq!(fields.iter().map(|line| line[1..].join(" ")).collect::<Vec<_>>(), ["stdout one", "stderr two", "stdout three"]);
    assert!(fields.is_sorted_by_key(|line| line[0]), "{lines}");
    let third = fields[2][0];
    for (query, expected) in [
        (format!("since={third}"), "three\n"),
        (format!("since={}", third.replace('Z', "%2B00:00")), "three\n"),
        ("since=1h".to_owned(), "one\ntwo\nthree\n"),
        ("since=2200-01-01T00:00:00Z".to_owned(), ""),
        ("tail=2".to_owned(), "two\nthree\n"),
        ("tail=2&stream=stdout".to_owned(), "one\nthree\n"),
        (format!("tail=3&since={third}"), "three\n"),
        ("tail=0".to_owned(), ""),
    ] {
        assert_eq!(read(&agent, &id, &query), expected, "{query}");
    }
}

fn odd_output() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    let script = r"printf 'a prompt> '; sleep 1.5; printf 'answered\n'; head -c 40000 /dev/zero | tr '\0' 'L'; echo; printf '\000\377\r\n' >&2; printf 'half a li'; exit 3";
    run(&mut agent, &id, &["sh", "-c", script], json!({}));
    // Before its line has an end.
    wait_text(&agent, &id, "", "a prompt> ");
    let text = wait_for("it ended", SOON, || {
        let bytes = fs::read(directory(&home, &id).join("000001.log")).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.contains("half a li\n").then_some(text)
    });
    assert!(text.contains(" stdout P a prompt> \n") && text.contains(" stdout F answered\n"), "a piece is marked");
    assert_eq!(text.matches(" stdout P LLLL").count(), 2, "a long line is cut");
    assert!(text.contains(" stderr F \0\u{fffd}\r\n"));
    assert!(text.contains(" stdout F half a li\n"), "the last words are a line");
    agent.wait("it waits", |replicas| {
        let replica = &replicas[0];
        (replica["phase"] == "backoff").then(|| assert!(replica["detail"].as_str().unwrap().contains("exited with code 3"), "{replica}"))
    });
    let lines = get_bytes(&agent, &format!("/v1/replicas/{id}/logs"));
    assert!(
        lines.windows(40_001).any(|window| window[..40_000].iter().all(|byte| *byte == b'L') && window[40_000] == b'\n'),
        "it is whole again"
    );
    let begin = b"a prompt> answered\n";
    assert!(lines.starts_with(begin), "{:?}", String::from_utf8_lossy(&lines[..40]));
    // One that writes nothing has nothing, and that is no mistake.
    let silent = new_id();
    run(&mut agent, &silent, &["sleep", "1000"], json!({}));
    agent.wait("it runs", |replicas| (replicas.len() == 1).then(|| replicas[0]["pid"].as_u64()).flatten());
    assert_eq!(read(&agent, &silent, ""), "");
    assert!(!directory(&home, &silent).exists());
}

fn get_bytes(agent: &Agent, path: &str) -> Vec<u8> {
    let mut stream = http::connect(agent.port);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(http::head_of(&mut reader).0, 200);
    std::iter::from_fn(|| http::chunk_of(&mut reader)).flatten().collect()
}

fn rotated_while_they_are_followed() {
    const LINES: u32 = 3_000;
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    // Some lines, then it waits for a reader, then the rest.
    let go = home.runtime().join("go");
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); [ $i = 100 ] && until [ -e {} ]; do sleep 0.02; done; [ $((i % 50)) = 0 ] && sleep 0.02; done; exec sleep 1000",
        go.display()
    );
    run(&mut agent, &id, &["sh", "-c", &script], json!({ "max_bytes": 16_384, "files": 5 }));
    wait_text(&agent, &id, "", "line 99\n");
    let mut stream = http::connect(agent.port);
    write!(stream, "GET /v1/replicas/{id}/logs?follow=true&tail=10 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(http::head_of(&mut reader).0, 200);
    fs::write(&go, "").unwrap();
    let mut followed = String::new();
    while !followed.ends_with(&format!("line {}\n", LINES - 1)) {
        followed.push_str(&String::from_utf8(http::chunk_of(&mut reader).unwrap()).unwrap());
    }
    let expected: String = (90..LINES).map(|n| format!("line {n}\n")).collect();
    assert!(followed == expected, "{} lines, {} expected", followed.lines().count(), expected.lines().count());
    let names = names(&home, &id);
    assert!(names.len() <= 5 && names[0].as_str() > "000001.log", "{names:?}");
    for name in &names {
        assert!(fs::metadata(directory(&home, &id).join(name)).unwrap().len() <= 16_384);
    }
    // Over several files.
    let tail = read(&agent, &id, "tail=1000");
    assert_eq!(tail, (LINES - 1000..LINES).map(|n| format!("line {n}\n")).collect::<String>());
    let all = read(&agent, &id, "");
    assert!(all.ends_with(&tail) && all.len() > tail.len() && !all.contains("line 0\n"));
}

fn kept_when_the_replica_and_the_agent_are_gone() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    run(
        &mut agent,
        &id,
        &["sh", "-c", "exec 2>/dev/null; trap 'printf bye; exit 0' TERM; echo hello; while :; do sleep 0.02; done"],
        json!({}),
    );
    wait_text(&agent, &id, "", "hello\n");
    assert_eq!(agent.put(json!({})).status, 202);
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    wait_for("its last words are there", SOON, || (read(&agent, &id, "") == "hello\nbye\n").then_some(()));
    // Nothing will follow.
    assert_eq!(read(&agent, &id, "follow=true&tail=1"), "bye\n");
    assert_eq!(get(agent.port, &format!("/v1/replicas/{}/logs", new_id())).status, 404);
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    assert_eq!(names(&home, &id), ["000001.log"], "they outlive the agent");
    assert_eq!(crate::agent_process::names_in(&home.runtime()), ["logs"]);
    // A day and an hour later this one would be too old, the other would not.
    let old = new_id();
    fs::create_dir(directory(&home, &old)).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(25 * 3_600);
    fs::File::open(directory(&home, &old)).unwrap().set_modified(past).unwrap();
    let agent = Agent::start(&home);
    assert_eq!(read(&agent, &id, ""), "hello\nbye\n");
    assert!(!directory(&home, &old).exists());
}

fn guardian_killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    run(&mut agent, &id, &["sh", "-c", "echo started; exec sleep 1000"], json!({}));
    wait_text(&agent, &id, "", "started\n");
    signal(agent.guardian(), Signal::KILL);
    wait_text(&agent, &id, "", "started\nstarted\n");
    assert_eq!(names(&home, &id), ["000001.log"]);
}

fn full_disk() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let (id, other) = (new_id(), new_id());
    // Writing to it is as writing to a disk that is full (full(4)).
    fs::create_dir_all(directory(&home, &id)).unwrap();
    let file = directory(&home, &id).join("000001.log");
    symlink("/dev/full", &file).unwrap();
    agent.ids.extend([id.clone(), other.clone()]);
    let script = "i=0; while :; do i=$((i+1)); echo line $i; [ $((i % 500)) = 0 ] && sleep 0.02; done";
    let specs =
        json!({ "app@1": { "command": ["sh", "-c", script], "grace_ms": 100 }, "b@1": { "command": [this_program(), "replica", "echo"] } });
    let replica = |id: &str, app: &str| json!({ "id": id, "app": app, "revision": 1, "phase": "run" });
    assert_eq!(agent.put(json!({ "specs": specs, "replicas": [replica(&id, "app"), replica(&other, "b")] })).status, 202);
    let of = |replicas: &[Value], id: &str| replicas.iter().find(|replica| replica["id"] == id).cloned().unwrap();
    let replica = agent.wait("it says that output is dropped", |replicas| {
        let replica = of(replicas, &id);
        (replica["log_dropped_bytes"].as_u64().unwrap() > 0).then_some(replica)
    });
    let detail = replica["detail"].as_str().unwrap();
    assert!(detail.contains(file.to_str().unwrap()) && detail.contains("No space left"), "{detail}");
    assert_eq!(replica["restarts"], 0);
    agent.wait("the other is ready", |replicas| (of(replicas, &other)["ready"] == true).then_some(()));
    assert!(home.log().contains("its output is not kept: cannot write"), "it is in the agent's log");
    let dropped = |agent: &Agent| {
        let text = get(agent.port, "/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix("ostler_agent_log_dropped_bytes_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    assert!(dropped(&agent) > 0);
    fs::remove_file(&file).unwrap();
    wait_for("the log says so", SOON, || {
        let text: String =
            names(&home, &id).iter().map(|name| fs::read_to_string(directory(&home, &id).join(name)).unwrap_or_default()).collect();
        text.contains(" bytes of output were dropped here: cannot write").then_some(())
    });
    agent.wait("it recovers", |replicas| {
        let replica = of(replicas, &id);
        (replica["detail"] == "" && replica["restarts"] == 0).then_some(())
    });
    assert!(home.log().contains("its output is kept again"));
    let before = dropped(&agent);
    let last = |agent: &Agent| read(agent, &id, "tail=1");
    let now = last(&agent);
    wait_for("it goes on", SOON, || (last(&agent) != now).then_some(()));
    assert_eq!(dropped(&agent), before);
}

fn directory_that_cannot_be_used() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    fs::write(directory(&home, &id), "in the way").unwrap();
    run(&mut agent, &id, &["sh", "-c", "echo one; exec sleep 1000"], json!({}));
    agent.wait("it says so", |replicas| {
        let replica = &replicas[0];
        replica["detail"].as_str().unwrap().contains(directory(&home, &id).to_str().unwrap()).then(|| assert!(replica["pid"].is_u64()))
    });
    fs::remove_file(directory(&home, &id)).unwrap();
    wait_text(&agent, &id, "", "one\n");
    agent.wait("it recovers", |replicas| (replicas[0]["detail"] == "" && replicas[0]["log_dropped_bytes"] == 0).then_some(()));
}

fn file_removed_and_cut() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = new_id();
    run(&mut agent, &id, &["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"], json!({}));
    wait_text(&agent, &id, "", "line 2\n");
    fs::remove_file(directory(&home, &id).join("000001.log")).unwrap();
    wait_text(&agent, &id, "", "[ostler] the log file");
    assert_eq!(names(&home, &id), ["000002.log"]);
    fs::write(directory(&home, &id).join("000002.log"), "").unwrap();
    wait_text(&agent, &id, "", "was cut short by somebody");
    wait_for("the agent says so", SOON, || {
        (home.log().contains("removed or renamed by somebody") && home.log().contains("was cut short")).then_some(())
    });
    assert_eq!(agent.replicas()[0]["restarts"], 0);
}

/// How many MB `flood` writes to stdout in this time, and its longest wait, as an agent's replica and alone.
fn never_in_the_way() {
    const MS: &str = "1000";
    const RATE: &str = "200000000";
    let dir = tempfile::tempdir().unwrap();
    let said = |file: &PathBuf| {
        let text = wait_for("the writer is done", SOON, || fs::read_to_string(file).ok().filter(|text| text.contains(' ')));
        let (bytes, longest_ms) = text.split_once(' ').unwrap();
        (bytes.parse::<u64>().unwrap() / 1_000_000, longest_ms.parse::<u64>().unwrap())
    };
    for (name, stdout) in [("to /dev/null", PathBuf::from("/dev/null")), ("to a plain file", dir.path().join("plain"))] {
        let file = dir.path().join(name.replace('/', "-"));
        let mut child = std::process::Command::new(this_program())
            .args(["replica", "flood", file.to_str().unwrap(), MS, RATE])
            .env("PORT", "1")
            .stdout(Stdio::from(fs::File::create(stdout).unwrap()))
            .spawn()
            .unwrap();
        let (written, longest) = said(&file);
        println!("  {name}: {written} MB in {MS} ms, longest wait {longest} ms");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let guardian = agent.guardian();
    // At this rate, and as fast as it can, for so long that output is left out rather than its writer held up.
    for (name, ms, rate) in [("to the agent", MS, RATE), ("to the agent, at any rate", "3000", "1000000000000")] {
        let file = dir.path().join(name);
        let id = new_id();
        let before = cpu_ms(guardian);
        run(&mut agent, &id, &[&this_program(), "replica", "flood", file.to_str().unwrap(), ms, rate], json!({}));
        let (written, longest) = said(&file);
        let cpu = cpu_ms(guardian) - before;
        let dropped = wait_for("what was dropped is told", SOON, || {
            let replica = agent.replica(&id).unwrap();
            (replica["detail"] == "").then(|| replica["log_dropped_bytes"].as_u64().unwrap() / 1_000_000)
        });
        println!("  {name}: {written} MB in {ms} ms, longest wait {longest} ms; {dropped} MB dropped; guardian: {cpu} ms of CPU");
        assert!(written > 0 && longest < 5_000);
        let sizes: u64 =
            names(&home, &id).iter().map(|name| fs::metadata(directory(&home, &id).join(name)).map_or(0, |meta| meta.len())).sum();
        assert!(sizes <= 10 * 10 * 1024 * 1024, "{sizes}");
    }
    let memory = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (agent_kib, guardian_kib) = (memory(agent.pid()), memory(guardian));
    println!("  memory at most: agent {agent_kib} KiB, guardian {guardian_kib} KiB");
    assert!(guardian_kib < 32 * 1024);
}

/// 100 replicas that write 100 lines in a second each: nothing is dropped, and what that costs.
fn many_that_write() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let program = this_program();
    let command: &[&str] = &[&program, "replica", "ticks"];
    let ids = agent.assign(&vec![command; 100]);
    let directory = |at: usize| home.runtime().join("logs").join(format!("app{at}.{}", ids[at])).join("000001.log");
    wait_for("all write", SOON, || (0..100).all(|at| directory(at).exists()).then_some(()));
    let (guardian, began) = (agent.guardian(), std::time::Instant::now());
    let bytes = || fs::metadata(directory(0)).unwrap().len();
    let (cpu_before, agent_before, bytes_before) = (cpu_ms(guardian), cpu_ms(agent.pid()), bytes());
    // A record of it has about 140 bytes.
    wait_for("it has written 300 lines more", SOON, || (bytes() >= bytes_before + 300 * 140).then_some(()));
    let (cpu, of_agent, ms) = (cpu_ms(guardian) - cpu_before, cpu_ms(agent.pid()) - agent_before, began.elapsed().as_millis());
    println!("  100 replicas, 100 lines/s each: guardian {cpu} ms, agent {of_agent} ms of CPU in {ms} ms");
    assert!(agent.replicas().iter().all(|replica| replica["log_dropped_bytes"] == 0));
}

fn cpu_ms(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime, in hundredths of a second (proc_pid_stat(5)).
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
