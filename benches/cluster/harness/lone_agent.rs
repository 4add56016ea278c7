//! An agent without a controller, told what to run as anybody may tell it, and watched as a controller watches it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::Process;
use super::cluster::{Agent, kill};
use super::http1::{self, Connection};
use super::program::Program;

/// Nothing takes so long but what has failed.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The agent, in a directory of its own. When it is dropped, its processes and its directory are gone.
pub struct LoneAgent {
    agent: Option<Agent>,
    /// Its port.
    pub port: u16,
    /// Its directory.
    pub dir: TempDir,
    generation: u64,
}

impl LoneAgent {
    /// Starts one.
    pub async fn start() -> Result<LoneAgent> {
        let dir = tempfile::Builder::new().prefix("ostler-bench-").tempdir().context("cannot make a directory")?;
        let args = ["--port".into(), "0".into(), "--runtime-dir".into(), dir.path().join("agent").into_os_string()];
        let mut program = Program::start("agent", &args, dir.path())?;
        let port = program.port().await?;
        let url = format!("http://localhost:{port}");
        Ok(LoneAgent { agent: Some(Agent { program, url }), port, dir, generation: 0 })
    }

    /// Agent and guardian.
    pub fn processes(&self) -> Result<[Process; 2]> {
        let agent = self.agent.as_ref().context("the agent has ended")?;
        Ok([Process::of(agent.program.pid()).context("the agent has ended")?, agent.guardian()?])
    }

    /// Has it run `count` replicas of an app with this spec, and nothing else.
    pub async fn assign(&mut self, spec: &Value, count: usize) -> Result<()> {
        self.generation += 1;
        let replica = |at: usize| json!({ "id": id(at), "app": "bench", "revision": 1, "phase": "run" });
        let assignment = json!({
            "cluster": "00000000-0000-7000-8000-00000000c105", "epoch": 1, "generation": self.generation, "lease_ms": 600_000,
            "specs": { "bench@1": spec }, "replicas": (0..count).map(replica).collect::<Vec<_>>(),
        });
        let answer = http1::call(self.port, Method::PUT, "/v1/assignment", &assignment.to_string()).await?;
        ensure!(answer.status.is_success(), "/v1/assignment: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// Watches it.
    pub async fn observe(&self) -> Result<Observing> {
        let mut connection = Connection::open(self.port).await?;
        let body = connection.stream("/v1/observe").await?;
        Ok(Observing { _connection: connection, body, text: Vec::new(), replicas: BTreeMap::new() })
    }

    /// Kills it and fails if anything is left of what it ran.
    pub fn end(mut self) -> Result<()> {
        match kill(self.agent.take().into_iter().collect()) {
            0 => Ok(()),
            left => bail!("{left} processes of the agent outlived it; they were killed"),
        }
    }
}

impl Drop for LoneAgent {
    fn drop(&mut self) {
        kill(self.agent.take().into_iter().collect());
    }
}

/// The id of a replica.
pub fn id(at: usize) -> String {
    format!("00000000-0000-7000-8000-{at:012x}")
}

/// What is said of a replica, as far as it is looked at here.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    id: String,
    /// Counts its starts.
    pub attempt: u32,
    /// It gets requests.
    pub ready: bool,
    /// Its process.
    pub pid: Option<i32>,
    /// Its port.
    pub port: Option<u16>,
    /// How much of its output was dropped.
    #[serde(default)]
    pub log_dropped_bytes: u64,
}

#[derive(Deserialize)]
struct Line {
    snapshot: Option<Snapshot>,
    replica: Option<Seen>,
}

#[derive(Deserialize)]
struct Snapshot {
    replicas: Vec<Seen>,
}

/// The stream of observations, and what is known from it.
pub struct Observing {
    _connection: Connection,
    body: Incoming,
    text: Vec<u8>,
    /// By id.
    pub replicas: BTreeMap<String, Seen>,
}

impl Observing {
    /// Reads until what is known is as it should be.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&BTreeMap<String, Seen>) -> bool) -> Result<()> {
        let reading = async {
            while !condition(&self.replicas) {
                let bytes = next(&mut self.body).await?;
                self.take(&bytes)?;
            }
            Ok(())
        };
        timeout(GIVE_UP, reading).await.unwrap_or_else(|_| bail!("not within {} s: {what}", GIVE_UP.as_secs()))
    }

    /// Reads whatever comes for so long.
    pub async fn read_for(&mut self, time: Duration) -> Result<()> {
        let reading = async {
            loop {
                let bytes = next(&mut self.body).await?;
                self.take(&bytes)?;
            }
        };
        timeout(time, reading).await.unwrap_or(Ok(()))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.text.extend_from_slice(bytes);
        let Some(end) = self.text.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.text.split_off(end + 1);
        for line in std::mem::replace(&mut self.text, rest).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line).context("a line of observations is not what was promised")?;
            let all = line.snapshot.into_iter().flat_map(|snapshot| snapshot.replicas).chain(line.replica);
            self.replicas.extend(all.map(|seen| (seen.id.clone(), seen)));
        }
        Ok(())
    }
}

async fn next(body: &mut Incoming) -> Result<Bytes> {
    loop {
        let frame = body.frame().await.context("the agent ended its observations")?.context("the observations broke off")?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(bytes);
        }
    }
}
