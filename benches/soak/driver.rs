//! Kills of an agent, of its guardian, or of both, at random moments, and what must hold after each: used by the soak and by a test.
//!
//! It talks to the built `agent` as a controller would, and looks at `/proc`. Everything random comes from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CLUSTER: &str = "0199b1c2-7d3e-7abc-8def-0123456789ab";
/// For everything to be as it is wanted again.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is still there and not listed by then is an orphan.
const ORPHAN_AFTER: Duration = Duration::from_secs(3);
const REPLICAS_MAX: u64 = 5;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub kills: BTreeMap<&'static str, u64>,
    /// Processes of replicas that the agent does not list once all is as it is wanted.
    pub orphans: u64,
    /// Times that two first processes of one replica were seen at once.
    pub duplicates: u64,
    /// Bystanders that were ended.
    pub strangers: u64,
    /// Replicas that had another process after a kill that they should have outlived.
    pub restarted: u64,
    /// Replicas that outlived a kill.
    pub kept: u64,
}

impl Tally {
    pub fn is_clean(&self) -> bool {
        (self.orphans, self.duplicates, self.strangers, self.restarted) == (0, 0, 0, 0)
    }
}

/// xorshift64*: good enough to choose a moment, and the same everywhere.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// An agent, and what it is to run.
#[derive(Debug)]
pub struct Rig {
    directory: PathBuf,
    programs: (PathBuf, PathBuf),
    keeps: bool,
    port: u16,
    agent: Option<Child>,
    generation: u64,
    wanted: Vec<String>,
    ever: Arc<Mutex<BTreeSet<String>>>,
    bystanders: Vec<Child>,
    watcher: Option<Watcher>,
    next_id: u64,
    pub tally: Tally,
}

/// Looks for two first processes of one replica, all the time.
#[derive(Debug)]
struct Watcher {
    is_over: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Rig {
    /// An agent that runs in `directory`, by these programs: agent, worker. `seed` makes the ids of this run its own.
    pub fn start(directory: &Path, programs: (PathBuf, PathBuf), keeps: bool, seed: u64) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).map(|addr| addr.port());
        let ever = Arc::new(Mutex::new(BTreeSet::new()));
        let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = spawn({
            let (ever, is_over, seen) = (Arc::clone(&ever), Arc::clone(&is_over), Arc::clone(&seen));
            move || watch(&ever, &is_over, &seen)
        });
        let mut rig = Rig {
            directory: directory.to_owned(),
            programs,
            keeps,
            port: port.expect("a port is free"),
            agent: None,
            generation: 0,
            wanted: vec![],
            ever,
            bystanders: (0..3).map(|_| bystander()).collect(),
            watcher: Some(Watcher { is_over, seen, thread }),
            next_id: seed << 20,
            tally: Tally::default(),
        };
        rig.start_agent();
        rig
    }

    fn runtime(&self) -> PathBuf {
        self.directory.join("runtime")
    }

    fn start_agent(&mut self) {
        let log = File::options().create(true).append(true).open(self.directory.join("log")).expect("a log");
        let mut command = Command::new(&self.programs.0);
        command.args(["--port", &self.port.to_string(), "--name", "soak", "--runtime-dir"]).arg(self.runtime());
        command.args(self.keeps.then_some("--keep-workers"));
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().expect("the agent starts"));
        self.wait("the agent answers", |rig| rig.replicas().map(drop));
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// What agent and guardian do, as the system sees it.
    fn states(&self) -> String {
        let both = self.agent.as_ref().map(Child::id).into_iter().chain(self.guardian());
        let state = |pid: u32| {
            let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            format!("process {pid}: {} {} {}", read("wchan"), read("syscall").trim(), read("stack").replace('\n', " "))
        };
        both.map(state).collect::<Vec<_>>().join("\n")
    }

    fn wait<T>(&mut self, what: &str, mut check: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = check(self) {
                return value;
            }
            assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{:?}\n{}\n{}", self.replicas(), self.states(), self.log());
            sleep(Duration::from_millis(2));
        }
    }

    /// What the agent says that it runs.
    fn replicas(&self) -> Option<Vec<Value>> {
        let stream = self.call(format!("GET /v1/observe HTTP/1.0\r\nHost: localhost:{}\r\n\r\n", self.port).as_bytes())?;
        let mut lines = BufReader::new(stream).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with('{')))?;
        serde_json::from_str::<Value>(&line).ok()?["snapshot"]["replicas"].as_array().cloned()
    }

    fn call(&self, request: &[u8]) -> Option<TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(request).ok()?;
        Some(stream)
    }

    /// Sends what is wanted. False when nobody took it: it is sent again later.
    fn assign(&mut self) -> bool {
        self.generation += 1;
        let replica = |id: &String| json!({ "id": id, "app": "soak", "revision": 1, "phase": "run" });
        let body = json!({
            "cluster": CLUSTER, "epoch": 1, "generation": self.generation, "lease_ms": 60_000,
            "specs": { "soak@1": { "command": [self.programs.1], "grace_ms": 1_000 } },
            "replicas": self.wanted.iter().map(replica).collect::<Vec<_>>(),
        })
        .to_string();
        let head = format!("PUT /v1/assignment HTTP/1.0\r\nHost: localhost:{}\r\nContent-Length: {}\r\n\r\n", self.port, body.len());
        let mut answer = String::new();
        let read = self.call((head + &body).as_bytes()).map(|mut stream| stream.read_to_string(&mut answer));
        read.is_some() && answer.split(' ').nth(1) == Some("202")
    }

    /// Other replicas are wanted than before.
    fn scale(&mut self, dice: &mut Dice) {
        let keep = usize::try_from(dice.below(REPLICAS_MAX + 1)).unwrap_or(0);
        self.wanted.truncate(keep);
        for _ in 0..dice.below(REPLICAS_MAX + 1 - self.wanted.len() as u64) {
            self.next_id += 1;
            let id = format!("0199b1c2-7d3e-7abc-8def-{:012x}", self.next_id & 0xffff_ffff_ffff);
            self.ever.lock().expect("no panic").insert(id.clone());
            self.wanted.push(id);
        }
    }

    /// Everything is as it is wanted: exactly these replicas, all of them ready, and no other process of any that there ever was.
    fn settle(&mut self) -> BTreeMap<String, u64> {
        let mut wanted = self.wanted.clone();
        wanted.sort();
        let began = Instant::now();
        loop {
            let pids = self.wait("exactly what is wanted, all of it ready", |rig| {
                let replicas = rig.replicas()?;
                let ready = replicas.iter().filter(|replica| replica["ready"] == true);
                let pids: BTreeMap<String, u64> = ready.filter_map(|r| Some((r["id"].as_str()?.to_owned(), r["pid"].as_u64()?))).collect();
                (replicas.len() == wanted.len() && pids.keys().eq(&wanted)).then_some(pids)
            });
            let listed: BTreeSet<u64> = pids.values().copied().collect();
            let there: BTreeSet<u64> =
                processes_of(&self.ever.lock().expect("no panic")).into_iter().map(|(_, pid)| u64::from(pid)).collect();
            // Right after a kill the agent may not have heard of it yet, and then both change once more.
            if there == listed || began.elapsed() > ORPHAN_AFTER {
                self.tally.orphans += there.difference(&listed).count() as u64;
                return pids;
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// One kill, and what must hold after it.
    pub fn round(&mut self, dice: &mut Dice) {
        let before = self.settle();
        let moment = ["idle", "just after an assignment", "during start and stop"][usize::try_from(dice.below(3)).unwrap_or(0)];
        let was_wanted: BTreeSet<String> = self.wanted.iter().cloned().collect();
        if moment != "idle" {
            self.scale(dice);
            self.assign();
        }
        match moment {
            "during start and stop" => sleep(Duration::from_micros(dice.below(40_000))),
            "idle" => sleep(Duration::from_micros(dice.below(5_000))),
            _ => {}
        }
        let victim = ["agent", "guardian", "both"][usize::try_from(dice.below(3)).unwrap_or(0)];
        let agent = self.agent.as_ref().map(Child::id).expect("an agent");
        let guardian = self.guardian();
        // The guardian may have been killed the round before, and the next one is not there yet.
        let victim = if guardian.is_none() { "agent" } else { victim };
        *self.tally.kills.entry(victim).or_default() += 1;
        match (victim, guardian) {
            ("agent", _) => kill(agent, Signal::KILL),
            ("guardian", Some(guardian)) => kill(guardian, Signal::KILL),
            (_, guardian) => {
                // Frozen first, so that neither can do a thing about the end of the other.
                let both: Vec<u32> = guardian.into_iter().chain([agent]).collect();
                both.iter().for_each(|pid| kill(*pid, Signal::STOP));
                both.iter().for_each(|pid| kill(*pid, Signal::KILL));
            }
        }
        if victim != "guardian" {
            let _ = self.agent.take().map(|mut agent| agent.wait());
            self.forge();
            self.start_agent();
        }
        self.wait("the assignment is taken", |rig| rig.assign().then_some(()));
        let after = self.settle();
        if self.keeps {
            for (id, pid) in before.iter().filter(|(id, _)| was_wanted.contains(*id) && self.wanted.contains(id)) {
                if after.get(id) == Some(pid) {
                    self.tally.kept += 1;
                } else {
                    self.tally.restarted += 1;
                }
            }
        }
        let ended = self.bystanders.iter_mut().filter_map(|child| child.try_wait().ok().flatten()).count();
        self.tally.strangers += ended as u64;
        if ended > 0 {
            self.bystanders = (0..3).map(|_| bystander()).collect();
        }
    }

    /// The guardian, by its mark.
    fn guardian(&self) -> Option<u32> {
        let mark = format!("OSTLER_GUARDIAN={}", fs::canonicalize(self.runtime()).ok()?.display());
        let is_first =
            |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.windows(10).any(|part| part == b"__guardian"));
        pids().into_iter().find(|pid| environment(*pid).contains(&mark) && is_first(pid))
    }

    /// Records that say that bystanders are replicas.
    fn forge(&mut self) {
        let replicas = self.runtime().join("replicas");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        for child in &self.bystanders {
            self.next_id += 1;
            let id = format!("0199b1c2-7d3e-7abc-8def-{:012x}", self.next_id & 0xffff_ffff_ffff);
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
            let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
            let record = json!({
                "boot": boot.trim(), "attempt": { "id": id, "attempt": 1 }, "pid": child.id(), "started": started, "cgroup": null,
                "limiters": [], "tree": "session", "limits": {}, "log": self.directory.join("nowhere"),
                "log_spec": { "max_bytes": 10_485_760, "files": 10 },
            });
            let directory = replicas.join(&id);
            let _ = fs::create_dir_all(&directory).and_then(|()| fs::write(directory.join("process.json"), record.to_string()));
        }
    }

    /// Ends everything and tells what was counted.
    pub fn end(mut self) -> Tally {
        self.settle();
        let all = self.ever.lock().expect("no panic").clone();
        let mut agent = self.agent.take().expect("an agent");
        kill(agent.id(), Signal::INT);
        let _ = agent.wait();
        self.wait("the guardian ends", |rig| rig.guardian().is_none().then_some(()));
        self.tally.orphans += processes_of(&all).len() as u64;
        if let Some(watcher) = self.watcher.take() {
            watcher.is_over.store(true, Ordering::Relaxed);
            let _ = watcher.thread.join();
            self.tally.duplicates = watcher.seen.load(Ordering::Relaxed);
        }
        self.tally.clone()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.is_over.store(true, Ordering::Relaxed);
            let _ = watcher.thread.join();
        }
        for child in self.bystanders.iter_mut().chain(&mut self.agent) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Only after a failure is there anything: nothing of it may outlive this run.
        if let Some(guardian) = self.guardian() {
            kill(guardian, Signal::KILL);
        }
        let ever = self.ever.lock().map(|ever| ever.clone()).unwrap_or_default();
        processes_of(&ever).into_iter().for_each(|(_, pid)| kill(pid, Signal::KILL));
    }
}

fn watch(ever: &Mutex<BTreeSet<String>>, is_over: &AtomicBool, seen: &AtomicU64) {
    let mut told = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        let ids = ever.lock().map(|ever| ever.clone()).unwrap_or_default();
        let mut by_id: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        processes_of(&ids).into_iter().for_each(|(id, pid)| by_id.entry(id).or_default().push(pid));
        // The look took a while: only what is still there now was there at once.
        for pair in by_id.into_values().filter(|pids| pids.len() > 1) {
            let alive: Vec<u32> = pair.into_iter().filter(|pid| !environment(*pid).is_empty()).collect();
            if alive.len() > 1 && told.insert(alive) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(3));
    }
}

/// A process that is none of the agent's.
fn bystander() -> Child {
    Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("a bystander")
}

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn environment(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    text.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned()).filter(|entry| !entry.is_empty()).collect()
}

/// The processes of these replicas: each has one only, being a worker.
fn processes_of(ids: &BTreeSet<String>) -> Vec<(String, u32)> {
    let id_of = |pid: u32| environment(pid).into_iter().find_map(|entry| entry.strip_prefix("OSTLER_REPLICA_ID=").map(str::to_owned));
    pids().into_iter().filter_map(|pid| Some((id_of(pid)?, pid))).filter(|(id, _)| ids.contains(id)).collect()
}
