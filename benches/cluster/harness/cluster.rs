//! A cluster of its own for one scenario: a controller and agents in a private directory, on free ports.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use super::http1::{self, Answer, Connection};
use super::program::Program;
use super::{Process, Status};

/// Between two looks at `/status` when milliseconds count.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// So long anything may take before the scenario is given up: far above every bar.
const GIVE_UP: Duration = Duration::from_secs(30);
/// So long what an agent leaves behind may still run when the scenario has ended.
const GONE_MAX: Duration = Duration::from_secs(2);

/// An agent of a cluster.
pub struct Agent {
    /// Its process.
    pub program: Program,
    /// Its URL, as the controller knows it.
    pub url: String,
}

impl Agent {
    /// Its guardian: the one process that an agent itself starts.
    pub fn guardian(&self) -> Result<Process> {
        match Process::children(self.program.pid()).as_slice() {
            [guardian] => Ok(*guardian),
            others => bail!("the agent {} has {} children instead of one guardian", self.url, others.len()),
        }
    }

    /// The processes of its replicas.
    pub fn workers(&self) -> Result<Vec<Process>> {
        Ok(Process::descendants(self.guardian()?.pid))
    }
}

/// A running cluster. When it is dropped, its processes and its directory are gone.
pub struct Cluster {
    controller: Program,
    /// The controller's port.
    pub port: u16,
    /// Its agents, in the order in which they were added.
    pub agents: Vec<Agent>,
    dir: TempDir,
}

impl Cluster {
    /// Starts a controller and so many agents, and registers them.
    pub async fn start(agents: usize) -> Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("ostler-bench-").tempdir().context("cannot make a directory")?;
        let mut controller = start_controller(&dir, 0)?;
        let port = controller.port().await?;
        let mut cluster = Cluster { controller, port, agents: Vec::new(), dir };
        for at in 0..agents {
            cluster.add_agent(at).await?;
        }
        cluster.until("all nodes are ready", |status| status.nodes_ready().len() == agents).await?;
        Ok(cluster)
    }

    async fn add_agent(&mut self, at: usize) -> Result<()> {
        let runtime_dir = self.dir.path().join(format!("agent-{at}"));
        let args = ["--port".into(), "0".into(), "--runtime-dir".into(), runtime_dir.into_os_string()];
        let mut program = Program::start("agent", &args, self.dir.path())?;
        let url = format!("http://localhost:{}", program.port().await?);
        self.agents.push(Agent { program, url: url.clone() });
        self.post("/add-node", &json!({ "url": url }).to_string()).await?;
        Ok(())
    }

    /// The agent at this place.
    pub fn agent(&self, at: usize) -> Result<&Agent> {
        self.agents.get(at).ok_or_else(|| anyhow!("there is no agent {at}"))
    }

    /// The controller.
    pub fn controller(&self) -> &Program {
        &self.controller
    }

    /// Kills the controller and starts it again, with the same port and directory. What it serves is for the caller to see.
    pub async fn restart_controller(&mut self) -> Result<()> {
        self.controller.signal(Signal::KILL)?;
        self.controller.ended(GIVE_UP).await?;
        self.controller = start_controller(&self.dir, self.port)?;
        Ok(())
    }

    /// Says how many replicas are wanted.
    pub async fn scale(&self, count: usize) -> Result<()> {
        self.post("/scale", &json!({ "count": count }).to_string()).await.map(drop)
    }

    /// Scales, and waits until exactly so many replicas run and all of them are ready.
    pub async fn settle(&self, count: usize) -> Result<Status> {
        self.scale(count).await?;
        self.until(&format!("{count} replicas run"), |status| status.is_settled(count)).await
    }

    /// What `/status` says.
    pub async fn status(&self) -> Result<Status> {
        let answer = http1::call(self.port, Method::GET, "/status", "").await?;
        ensure!(answer.status.is_success(), "/status: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).context("/status is not what was promised")
    }

    /// Looks at `/status` until `condition` holds; a controller that does not answer is asked again.
    pub async fn until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Result<Status> {
        let deadline = Instant::now() + GIVE_UP;
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && condition(status)
            {
                return Ok(status.clone());
            }
            if Instant::now() > deadline {
                let seen = status.map_or_else(|error| format!("{error:#}"), |status| format!("{status:?}"));
                bail!("not within {} s: {what}\nlast seen: {seen}\n{}", GIVE_UP.as_secs(), self.log_ends());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// As [`Cluster::until`], and says how long after `begun` it held.
    pub async fn seconds_until(&self, begun: Instant, what: &str, condition: impl Fn(&Status) -> bool) -> Result<f64> {
        self.until(what, condition).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// A request to the app through the gateway, on a connection of its own.
    pub async fn get_app(&self) -> Result<Answer> {
        http1::call(self.port, Method::GET, "/", "").await
    }

    /// A connection to the gateway, to be kept.
    pub async fn connect(&self) -> Result<Connection> {
        Connection::open(self.port).await
    }

    /// Kills what runs and fails if anything is left of it.
    pub fn end(mut self) -> Result<()> {
        match kill(std::mem::take(&mut self.agents)) {
            0 => Ok(()),
            left => bail!("{left} processes of the agents outlived them by {} s; they were killed", GONE_MAX.as_secs()),
        }
    }

    async fn post(&self, path: &str, body: &str) -> Result<Answer> {
        let answer = http1::call(self.port, Method::POST, path, body).await?;
        ensure!(answer.status.is_success(), "{path} {body}: {} {}\n{}", answer.status, answer.text(), self.log_ends());
        Ok(answer)
    }

    fn log_ends(&self) -> String {
        let agents = self.agents.iter().map(|agent| &agent.program);
        let ends: Vec<String> = std::iter::once(&self.controller).chain(agents).map(Program::log_end).collect();
        ends.join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        kill(std::mem::take(&mut self.agents));
    }
}

fn start_controller(dir: &TempDir, port: u16) -> Result<Program> {
    let data_dir: PathBuf = dir.path().join("data");
    let args = ["--port".into(), port.to_string().into(), "--data-dir".into(), data_dir.into_os_string()];
    Program::start("controller", &args, dir.path())
}

/// The agents are killed, and what they ran must follow them. Returns how many processes did not.
pub fn kill(agents: Vec<Agent>) -> usize {
    let ran: Vec<Process> = agents.iter().flat_map(|agent| Process::descendants(agent.program.pid())).collect();
    drop(agents);
    let deadline = Instant::now() + GONE_MAX;
    while ran.iter().any(|process| !process.is_gone()) && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    let left: Vec<&Process> = ran.iter().filter(|process| !process.is_gone()).collect();
    for process in &left {
        // It may have ended this very moment.
        let _ = process.signal(Signal::KILL);
    }
    left.len()
}
