//! An agent as a process, and what a controller would say to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::{self, Answer};
use crate::proc::{of_replicas, signal, signal_if_there, wait_for, with_environment};

/// With this in its environment an agent keeps its replicas.
pub const KEEP: &str = "OSTLER_TEST_KEEP";

/// `processes agent RUNTIME_DIR [PORT]`
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(2).collect();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false).init();
    let config = agent::Config {
        listen: gateway::listen::Listen::Loopback { port: args.get(1).map_or(0, |port| port.parse().unwrap()) },
        name: Some("test-node".to_owned()),
        labels: std::collections::BTreeMap::new(),
        runtime_dir: Some(PathBuf::from(&args[0])),
        log_dir: None,
        keep_workers: std::env::var_os(KEEP).is_some(),
        cache_dir: args.get(2).map(PathBuf::from),
        cache_bytes_max: agent::CACHE_BYTES_MAX,
        insecure: false,
        allow_host: vec![],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(agent::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

pub fn this_program() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

pub const CLUSTER: &str = "0199b1c2-7d3e-7abc-8def-0123456789ab";

/// An id that no other test process uses.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Where an agent keeps its things; it outlives the agent.
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        // For temporary files of replicas: any user may have some.
        std::fs::create_dir(home.tmp()).unwrap();
        std::fs::set_permissions(home.tmp(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        home
    }

    pub fn runtime(&self) -> PathBuf {
        self.dir.path().join("runtime")
    }

    /// Where temporary files go.
    pub fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// Where everything of it lies.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn log_file(&self) -> File {
        File::create(self.dir.path().join("log")).unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

pub struct Agent {
    pub child: Child,
    pub port: u16,
    home_log: PathBuf,
    runtime: PathBuf,
    generation: AtomicU64,
    pub ids: Vec<String>,
    /// Its guardian and its replicas outlive it; the test ends them.
    pub is_kept: bool,
}

impl Agent {
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, |_| {})
    }

    pub fn start_with(home: &Home, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_program(home, &this_program(), change)
    }

    /// An agent that is a copy of this program.
    pub fn start_program(home: &Home, program: &str, change: impl FnOnce(&mut Command)) -> Self {
        let home_log = home.dir.path().join("log");
        let log = File::create(&home_log).unwrap();
        let mut command = Command::new(program);
        command.arg("agent").arg(home.runtime()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env("TMPDIR", home.tmp());
        change(&mut command);
        let child = command.spawn().unwrap();
        let port = wait_for("the agent is ready", Duration::from_secs(20), || {
            let log = home.log();
            assert!(!log.contains("error: "), "{log}");
            let line = log.lines().find(|line| line.contains("the agent is ready"))?;
            line.split("port=").nth(1)?.split(' ').next()?.parse().ok()
        });
        Self::adopt(child, port, home)
    }

    /// One that keeps its replicas.
    pub fn keep(home: &Home) -> Self {
        let mut agent = Self::start_with(home, |command| {
            command.env(KEEP, "1");
        });
        agent.is_kept = true;
        agent
    }

    /// The next one, by this program, after this one has ended.
    pub fn next(mut self, home: &Home, change: impl FnOnce(&mut Command)) -> Self {
        let _ = self.child.wait();
        self.is_kept = true;
        let mut next = Self::start_with(home, |command| {
            command.env(KEEP, "1");
            change(command);
        });
        next.is_kept = true;
        next.ids = std::mem::take(&mut self.ids);
        next.generation = AtomicU64::new(self.generation.load(Ordering::Relaxed));
        self.is_kept = false;
        next
    }

    /// The next one, as this program.
    pub fn next_program(self, home: &Home, program: &Path) -> Self {
        let mut command = Command::new(program);
        self.next(home, |given| {
            let args: Vec<_> = given.get_args().map(ToOwned::to_owned).collect();
            command.args(args);
            std::mem::swap(given, &mut command);
            given.env(KEEP, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(home.log_file());
        })
    }

    /// An agent that was started another way.
    pub fn adopt(child: Child, port: u16, home: &Home) -> Self {
        let home_log = home.dir.path().join("log");
        Agent { child, port, home_log, runtime: home.runtime(), generation: AtomicU64::new(0), ids: Vec::new(), is_kept: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn guardian(&self) -> u32 {
        let mark = format!("OSTLER_GUARDIAN={}", self.runtime.canonicalize().unwrap().display());
        wait_for("there is a guardian", Duration::from_secs(5), || with_environment(&mark).first().copied())
    }

    /// Runs these commands, one replica each, beside nothing else.
    pub fn assign(&mut self, commands: &[&[&str]]) -> Vec<String> {
        let ids: Vec<String> = commands.iter().map(|_| new_id()).collect();
        self.ids.extend(ids.clone());
        let specs: BTreeMap<String, Value> = commands
            .iter()
            .enumerate()
            .map(|(at, command)| (format!("app{at}@1"), json!({ "command": command, "grace_ms": 400 })))
            .collect();
        let replicas: Vec<Value> =
            ids.iter().enumerate().map(|(at, id)| json!({ "id": id, "app": format!("app{at}"), "revision": 1, "phase": "run" })).collect();
        let answer = self.put(json!({ "specs": specs, "replicas": replicas }));
        assert_eq!(answer.status, 202, "{}", answer.body);
        ids
    }

    /// Runs these replicas, of the app `app0` or `app1` and so on, and nothing else.
    pub fn assign_again(&self, ids: &[&str], specs: Value) -> Answer {
        let of = |(at, id): (usize, &&str)| json!({ "id": id, "app": format!("app{at}"), "revision": 1, "phase": "run" });
        self.put(json!({ "specs": specs, "replicas": ids.iter().enumerate().map(of).collect::<Vec<_>>() }))
    }

    /// Runs one replica of this spec, beside nothing else.
    pub fn assign_spec(&mut self, spec: Value) -> String {
        let id = new_id();
        self.ids.push(id.clone());
        let replica = json!({ "id": id, "app": "app0", "revision": 1, "phase": "run" });
        let answer = self.put(json!({ "specs": { "app0@1": spec }, "replicas": [replica] }));
        assert_eq!(answer.status, 202, "{}", answer.body);
        id
    }

    /// The next assignment, with what `rest` says.
    pub fn put(&self, rest: Value) -> Answer {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let mut body = json!({ "cluster": CLUSTER, "epoch": 1, "generation": generation, "lease_ms": 60_000, "specs": {}, "replicas": [] });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        http::call(self.port, "PUT", "/v1/assignment", &[], body.to_string().as_bytes())
    }

    /// What a replica has written to stdout, once it has written a line that says "done".
    pub fn said(&self, id: &str) -> Vec<String> {
        let lines = wait_for("it has said all", Duration::from_secs(20), || {
            let logs = http::get(self.port, &format!("/v1/replicas/{id}/logs?stream=stdout")).body;
            logs.lines().any(|line| line == "done").then_some(logs)
        });
        lines.lines().map(str::to_owned).collect()
    }

    /// What is said of a replica that waits for its next attempt.
    pub fn wait_backoff(&self, id: &str) -> String {
        self.wait("it waits", |replicas| {
            let replica = replicas.iter().find(|replica| replica["id"] == id && replica["phase"] == "backoff")?;
            Some(replica["detail"].as_str().unwrap().to_owned())
        })
    }

    /// What it runs.
    pub fn replicas(&self) -> Vec<Value> {
        let line = http::Observer::new(self.port).next().unwrap();
        line["snapshot"]["replicas"].as_array().unwrap().clone()
    }

    pub fn replica(&self, id: &str) -> Option<Value> {
        self.replicas().into_iter().find(|replica| replica["id"] == id)
    }

    /// Waits until all that run are ready, and tells their pids.
    pub fn wait_ready(&self, count: usize) -> Vec<u32> {
        self.wait("replicas are ready", |replicas| {
            let ready: Vec<u32> =
                replicas.iter().filter(|replica| replica["ready"] == true).map(|replica| replica["pid"].as_u64().unwrap() as u32).collect();
            (ready.len() == count).then_some(ready)
        })
    }

    pub fn wait<T>(&self, what: &str, mut check: impl FnMut(&[Value]) -> Option<T>) -> T {
        let mut last = Vec::new();
        wait_for(what, Duration::from_secs(20), || {
            last = self.replicas();
            check(&last)
        })
    }

    /// How it ended.
    pub fn wait_end(&mut self) -> Option<i32> {
        wait_for("the agent ends", Duration::from_secs(20), || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", std::fs::read_to_string(&self.home_log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.is_kept {
            let mark = format!("OSTLER_GUARDIAN={}", self.runtime.canonicalize().unwrap_or_default().display());
            with_environment(&mark).iter().chain(&of_replicas(&self.ids)).for_each(|pid| signal_if_there(*pid));
        }
        // No process of a replica outlives its agent.
        let began = std::time::Instant::now();
        while !of_replicas(&self.ids).is_empty() {
            if began.elapsed() > Duration::from_secs(5) {
                let left = of_replicas(&self.ids);
                left.iter().for_each(|pid| signal(*pid, Signal::KILL));
                if !std::thread::panicking() {
                    panic!("processes outlived their agent: {left:?}");
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub fn names_in(path: &Path) -> Vec<String> {
    std::fs::read_dir(path).map(|dir| dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default()
}
