//! Replicas that are run from an artifact.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent_process::{Agent, Home, names_in, this_program};
use crate::proc::{signal, wait_for};
use crate::store::{Store, ranged, status, whole};

pub const TESTS: &[(&str, fn())] = &[
    ("artifacts::a_replica_runs_in_its_artifact_and_the_guardian_holds_it", a_replica_runs_in_its_artifact_and_the_guardian_holds_it),
    ("artifacts::agents_of_one_host_download_once_with_little_memory", agents_of_one_host_download_once_with_little_memory),
    ("artifacts::what_breaks_is_gone_on_with", what_breaks_is_gone_on_with),
    ("artifacts::a_download_goes_on_after_its_agent_was_killed", a_download_goes_on_after_its_agent_was_killed),
    ("artifacts::what_cannot_be_had_is_told_in_a_sentence_without_secrets", what_cannot_be_had_is_told_in_a_sentence_without_secrets),
    ("artifacts::a_replica_that_is_to_stop_does_not_wait_for_its_artifact", a_replica_that_is_to_stop_does_not_wait_for_its_artifact),
    ("artifacts::an_artifact_is_fetched_from_an_object_store", an_artifact_is_fetched_from_an_object_store),
    ("artifacts::a_file_of_the_host_needs_no_digest", a_file_of_the_host_needs_no_digest),
];

/// A program that says where it is, and becomes one that listens.
const SCRIPT: &str = "#!/bin/sh\necho \"in $(pwd)\"\nexec \"$PROGRAM\" replica echo\n";

/// A program of so many bytes that does the same; what follows the script is not read.
fn program(bytes: usize) -> Vec<u8> {
    let mut program = SCRIPT.as_bytes().to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while program.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        program.extend_from_slice(&state.to_le_bytes());
    }
    program
}

fn sha256(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spec(command: &[&str], url: &str, bytes: &[u8]) -> Value {
    json!({ "command": command, "grace_ms": 400, "env": { "PROGRAM": this_program() }, "artifact": { "url": url, "sha256": sha256(bytes) } })
}

/// An agent that keeps artifacts there, and asks nobody else for them.
fn start(home: &Home, cache: &Path) -> Agent {
    start_with(home, cache, &[])
}

fn start_with(home: &Home, cache: &Path, env: &[(&str, &str)]) -> Agent {
    Agent::start_with(home, |command| {
        command.arg("0").arg(cache).envs(env.iter().copied());
        ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].iter().for_each(|name| {
            command.env_remove(name);
        });
    })
}

/// What is said of the only replica, when it holds these words.
fn wait_detail(agent: &Agent, words: &str) -> String {
    agent.wait(&format!("its detail has {words:?}"), |replicas| {
        let detail = replicas.first()?["detail"].as_str()?;
        detail.contains(words).then(|| detail.to_owned())
    })
}

fn tree_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).unwrap()
}

fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn a_replica_runs_in_its_artifact_and_the_guardian_holds_it() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let archive = tar_gz(&[("bin/web", SCRIPT.as_bytes()), ("check", b"#!/bin/sh\ntest -x bin/web\n")]);
    let digest = sha256(&archive);
    let bytes = archive.clone();
    store.serve("/web.tar.gz", move |_, stream| whole(stream, &bytes));
    let mut agent = start(&home, cache.path());
    let mut spec = spec(&["bin/web"], &store.url("/web.tar.gz"), &archive);
    spec["health"] = json!([{ "for": "readiness", "kind": "exec", "command": ["./check"], "interval_ms": 100 }]);
    agent.assign_spec(spec);
    let pid = agent.wait_ready(1)[0];
    let tree = cache.path().canonicalize().unwrap().join("trees").join(format!("{digest}.tar.gz"));
    assert_eq!(tree_of(pid), tree);
    // Whoever keeps replicas keeps their artifacts.
    let lock = fs::metadata(cache.path().join("locks").join(format!("{digest}.tar.gz"))).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&lock);
    let holders = |pid: u32| {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("FLOCK") && line.contains(&format!(" {pid} ")) && line.contains(&format!(":{inode} ")))
    };
    assert!(holders(agent.guardian()) && holders(agent.pid()));
    let guardian = agent.guardian();
    assert_eq!(agent.put(json!({})).status, 202);
    wait_for("nobody holds it", Duration::from_secs(10), || (!holders(guardian) && !holders(agent.pid())).then_some(()));
    assert!(tree.exists(), "it is kept for the next");
}

fn agents_of_one_host_download_once_with_little_memory() {
    let megabytes = std::env::var("OSTLER_ARTIFACT_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(24);
    let (cache, store) = (tempfile::tempdir().unwrap(), Store::start());
    let bytes = Arc::new(program(megabytes << 20));
    let served = Arc::clone(&bytes);
    store.serve("/web", move |asked, stream| ranged(asked, stream, &served, usize::MAX));
    let homes: Vec<Home> = (0..5).map(|_| Home::new()).collect();
    let mut agents: Vec<Agent> = homes.iter().map(|home| start(home, cache.path())).collect();
    let began = std::time::Instant::now();
    for agent in &mut agents {
        agent.assign_spec(spec(&["web"], &store.url("/web"), &bytes));
    }
    for agent in &agents {
        agent.wait("it runs", |replicas| (replicas.first()?["ready"] == true).then_some(()));
    }
    let peaks: Vec<u64> = agents.iter().map(|agent| peak_kib(agent.pid())).collect();
    println!("{megabytes} MB to 5 agents in {} ms; their peaks: {peaks:?} KiB", began.elapsed().as_millis());
    assert_eq!(store.asked("/web").len(), 1);
    assert!(peaks.iter().all(|kib| *kib <= 40 * 1_024), "{peaks:?}");
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn what_breaks_is_gone_on_with() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let bytes = Arc::new(program(3 << 20));
    let [cut, deaf, busy, moved] = [0; 4].map(|_| Arc::clone(&bytes));
    // It ends in the midst of it, twice.
    store.serve("/cut", move |asked, stream| ranged(asked, stream, &cut, if asked.before < 2 { 1 << 20 } else { usize::MAX }));
    // The same, and it does not know ranges.
    store.serve("/deaf", move |asked, stream| {
        let asked = crate::store::Asked { from: None, ..asked.clone() };
        ranged(&asked, stream, &deaf, if asked.before < 1 { 1 << 20 } else { usize::MAX });
    });
    store.serve("/busy", move |asked, stream| match asked.before {
        0 => status(stream, "503 Service Unavailable", ""),
        1 => status(stream, "500 Internal Server Error", ""),
        _ => ranged(asked, stream, &busy, usize::MAX),
    });
    store.serve("/moved", |_, stream| status(stream, "302 Found", "location: /there/moved\r\n"));
    store.serve("/there/moved", move |asked, stream| ranged(asked, stream, &moved, usize::MAX));
    let mut agent = start(&home, cache.path());
    for path in ["/cut", "/deaf", "/busy", "/moved"] {
        agent.assign_spec(spec(&[&path[1..]], &store.url(path), &bytes));
        agent.wait(&format!("{path} runs"), |replicas| (replicas.first()?["ready"] == true && replicas.len() == 1).then_some(()));
    }
    let ranges = |path: &str| store.asked(path).iter().map(|asked| asked.from).collect::<Vec<_>>();
    let cut = ranges("/cut");
    assert_eq!((cut.len(), cut[0]), (3, None));
    assert!(cut[1] > Some(0) && cut[2] > cut[1], "{cut:?}");
    assert_eq!(store.asked("/cut")[1].fields["if-range"], "\"one\"");
    assert_eq!(ranges("/deaf").len(), 2);
    let metrics = crate::http::call(agent.port, "GET", "/metrics", &[], b"").body;
    assert!(metrics.contains("\nostler_agent_artifacts_made_total 4\n"), "{metrics}");
}

fn a_download_goes_on_after_its_agent_was_killed() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let bytes = Arc::new(program(3 << 20));
    let is_slow = Arc::new(AtomicBool::new(true));
    let (served, slow) = (Arc::clone(&bytes), Arc::clone(&is_slow));
    store.serve("/web", move |asked, stream| slowly(asked, stream, &served, &slow));
    let mut agent = start(&home, cache.path());
    agent.assign_spec(spec(&["web"], &store.url("/web"), &bytes));
    let detail = wait_detail(&agent, "% of 3 MB");
    assert!(detail.starts_with(&format!("downloading {}: ", store.url("/web"))), "{detail}");
    let partial = cache.path().join("partial").join(format!("{}.file.web", sha256(&bytes)));
    wait_for("half of it is there", Duration::from_secs(10), || fs::metadata(&partial).ok().filter(|meta| meta.len() > 1 << 20));
    signal(agent.pid(), Signal::KILL);
    agent.wait_end();
    is_slow.store(false, Ordering::Relaxed);
    let mut agent = start(&home, cache.path());
    agent.assign_spec(spec(&["web"], &store.url("/web"), &bytes));
    agent.wait_ready(1);
    let from = store.asked("/web")[1].from;
    assert!(from >= Some(1 << 20), "{from:?}");
    assert_eq!(names_in(&cache.path().join("partial")), Vec::<String>::new());
}

/// Two thirds of it, and the rest when it is not to be slow any more, or the client is gone.
fn slowly(asked: &crate::store::Asked, stream: &mut TcpStream, bytes: &[u8], is_slow: &AtomicBool) {
    let most = if is_slow.load(Ordering::Relaxed) { bytes.len() / 3 * 2 } else { usize::MAX };
    ranged(asked, stream, bytes, most);
    stream.set_nonblocking(true).unwrap();
    // A read ends when the client does.
    while most != usize::MAX && is_slow.load(Ordering::Relaxed) && stream.peek(&mut [0]).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn what_cannot_be_had_is_told_in_a_sentence_without_secrets() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let bytes = program(1_000);
    let served = bytes.clone();
    store.serve("/other?token=hush", move |_, stream| whole(stream, &served));
    store.serve("/circle", |_, stream| status(stream, "301 Moved", "location: /circle\r\n"));
    store.serve("/away?token=hush", |_, stream| status(stream, "302 Found", "location: ftp://elsewhere/?token=hush\r\n"));
    let archive = b"this is no archive".to_vec();
    store.serve("/none.tar.gz", move |_, stream| whole(stream, &archive));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut agent = start(&home, cache.path());
    let cases = [
        (store.url("/missing?token=hush"), bytes.clone(), "the server answered 404 Not Found"),
        (store.url("/other?token=hush"), b"something else".to_vec(), "and should be"),
        (store.url("/circle"), bytes.clone(), "more than 5 redirects"),
        (store.url("/away?token=hush"), bytes.clone(), "no web server"),
        (store.url("/none.tar.gz"), b"this is no archive".to_vec(), "no tar.gz archive"),
        (format!("http://{closed}/web?token=hush"), bytes.clone(), "cannot be connected to"),
        (store.url("/%2e%2e"), bytes.clone(), "no name for a file"),
    ];
    for (url, bytes, words) in cases {
        agent.assign_spec(spec(&["web"], &url, &bytes));
        let detail = agent.wait(words, |replicas| {
            let detail = replicas.first()?["detail"].as_str()?;
            (detail.contains("its artifact") && detail.contains(words)).then(|| detail.to_owned())
        });
        if url.ends_with(".tar.gz") {
            agent.wait("it was tried twice", |replicas| (replicas.first()?["attempt"].as_u64() > Some(2)).then_some(()));
        }
        assert!(!detail.contains("hush") && !detail.contains('\n'), "{detail}");
        assert_eq!(agent.put(json!({})).status, 202);
        agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    }
    assert_eq!(store.asked("/none.tar.gz").len(), 1, "what cannot be unpacked is not asked for again and again");
    agent.assign_spec(json!({ "command": ["web"], "artifact": { "url": store.url("/other") } }));
    wait_detail(&agent, "it has no sha256");
    assert!(!home.log().contains("hush"), "{}", home.log());
    assert_eq!(names_in(&cache.path().join("trees")), Vec::<String>::new());
}

fn a_replica_that_is_to_stop_does_not_wait_for_its_artifact() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let bytes = Arc::new(program(3 << 20));
    let is_slow = Arc::new(AtomicBool::new(true));
    let (served, slow) = (Arc::clone(&bytes), Arc::clone(&is_slow));
    store.serve("/web", move |asked, stream| slowly(asked, stream, &served, &slow));
    let mut agent = start(&home, cache.path());
    agent.assign_spec(spec(&["web"], &store.url("/web"), &bytes));
    wait_detail(&agent, "downloading");
    assert_eq!(agent.put(json!({})).status, 202);
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    // The server still waits: nothing but the agent can have ended it.
    assert!(is_slow.swap(false, Ordering::Relaxed));
    assert!(!home.log().contains("failed:"), "{}", home.log());
    agent.assign_spec(spec(&["web"], &store.url("/web"), &bytes));
    agent.wait_ready(1);
    // A goodbye in the midst of a download is as quick.
    is_slow.store(true, Ordering::Relaxed);
    let other = [bytes.as_slice(), b"x"].concat();
    let (served, slow) = (other.clone(), Arc::clone(&is_slow));
    store.serve("/other", move |asked, stream| slowly(asked, stream, &served, &slow));
    agent.assign_spec(spec(&["other"], &store.url("/other"), &other));
    wait_detail(&agent, "downloading");
    signal(agent.pid(), Signal::TERM);
    assert_eq!(agent.wait_end(), Some(0));
    is_slow.store(false, Ordering::Relaxed);
}

fn an_artifact_is_fetched_from_an_object_store() {
    let (home, cache, store) = (Home::new(), tempfile::tempdir().unwrap(), Store::start());
    let bytes = Arc::new(program(2 << 20));
    let served = Arc::clone(&bytes);
    store.serve("/apps/v1/web", move |asked, stream| {
        let signed = asked.fields.get("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=AKIDHUSH/"));
        if !signed {
            let body = "<Error><Code>AccessDenied</Code></Error>";
            let _ = write!(stream, "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        } else {
            dated(asked, stream, &served, if asked.before == 0 { 1 << 20 } else { usize::MAX });
        }
    });
    let endpoint = format!("http://127.0.0.1:{}", store.port);
    let keys = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "AKIDHUSH"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let mut agent = start_with(&home, cache.path(), &keys);
    agent.assign_spec(spec(&["web"], "s3://apps/v1/web", &bytes));
    let pid = agent.wait_ready(1)[0];
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environment.windows(4).any(|bytes| bytes == b"AWS_"));
    let froms: Vec<Option<usize>> = store.asked("/apps/v1/web").iter().map(|asked| asked.from).collect();
    assert!(froms.len() == 2 && froms[1] > Some(0), "{froms:?}");
    assert_eq!(agent.put(json!({})).status, 202);
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    agent.assign_spec(spec(&["web"], "s3://apps/v1/missing", b"other"));
    wait_detail(&agent, "there is no such object");
    assert!(!home.log().to_lowercase().contains("hush"), "{}", home.log());
}

/// As an object store answers: with the time of the last change, which its clients want.
fn dated(asked: &crate::store::Asked, stream: &mut TcpStream, bytes: &[u8], most: usize) {
    let from = asked.from.unwrap_or(0);
    let word = if asked.from.is_some() { "206 Partial Content" } else { "200 OK" };
    let range = format!("content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
    let dates = "last-modified: Tue, 24 Nov 2026 10:00:00 GMT\r\netag: \"one\"\r\nconnection: close\r\n";
    let head = format!("HTTP/1.1 {word}\r\ncontent-length: {}\r\n{dates}{range}\r\n", bytes.len() - from);
    let rest = &bytes[from..];
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..rest.len().min(most)]));
}

fn a_file_of_the_host_needs_no_digest() {
    let (home, cache, files) = (Home::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().canonicalize().unwrap().join("web.sh");
    fs::write(&path, SCRIPT).unwrap();
    let mut agent = start(&home, cache.path());
    let env = json!({ "PROGRAM": this_program() });
    let spec = json!({ "command": ["./web.sh"], "env": env, "grace_ms": 400, "artifact": { "url": format!("file://{}", path.display()) } });
    agent.assign_spec(spec.clone());
    let first = tree_of(agent.wait_ready(1)[0]);
    assert_eq!(names_in(&first), ["web.sh"]);
    // Another content is another artifact; what runs keeps its own.
    fs::write(&path, format!("{SCRIPT}# changed\n")).unwrap();
    agent.assign_spec(spec);
    let second = agent.wait("the other one runs", |replicas| {
        let [replica] = replicas else { return None };
        (replica["ready"] == true).then(|| tree_of(replica["pid"].as_u64().unwrap() as u32)).filter(|tree| *tree != first)
    });
    assert!(first.exists() && second.exists());
}
