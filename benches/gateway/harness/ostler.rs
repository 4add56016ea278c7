//! A controller, an agent and workers, started as a user would start them.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use super::namespaces::Place;
use super::program::Program;
use super::{Process, Status, http1};

const LOOK_EVERY: Duration = Duration::from_millis(2);
/// So long anything may take before the scenario is given up.
const GIVE_UP: Duration = Duration::from_secs(30);
/// So long what the agent leaves behind may still run.
const GONE_MAX: Duration = Duration::from_secs(2);

/// A cluster of one agent. When it is dropped, its processes are gone.
pub struct Ostler {
    controller: Program,
    agent: Program,
    /// The port of the gateway and the API.
    pub port: u16,
}

impl Ostler {
    /// Controller and agent on this host, and so many workers.
    pub async fn start(workers: usize, dir: &Path) -> Result<Ostler> {
        let port = ["--port", "0"].map(OsStr::new);
        let mut agent = start_agent(&Place::Here, &port, dir)?;
        let url = format!("http://localhost:{}", agent.port().await?);
        Ostler::with(agent, url, workers, dir).await
    }

    /// The agent and its workers on another host, at this address, in the clear.
    pub async fn start_apart(workers: usize, dir: &Path, place: &Place, ip: &str) -> Result<Ostler> {
        let address = format!("{ip}:9091");
        let listen = ["--listen", &address, "--insecure"].map(OsStr::new);
        let mut agent = start_agent(place, &listen, dir)?;
        agent.port().await?;
        Ostler::with(agent, format!("http://{address}"), workers, dir).await
    }

    async fn with(agent: Program, url: String, workers: usize, dir: &Path) -> Result<Ostler> {
        let data_dir = dir.join("data");
        let args = [OsStr::new("--port"), OsStr::new("0"), OsStr::new("--data-dir"), data_dir.as_os_str()];
        let mut controller = Program::ours("controller", &Place::Here, &args, dir)?;
        let port = controller.port().await?;
        let ostler = Ostler { controller, agent, port };
        ostler.post("/add-node", &json!({ "url": url }).to_string()).await?;
        ostler.settle(workers).await?;
        Ok(ostler)
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The program that holds the gateway.
    pub fn controller(&self) -> &Program {
        &self.controller
    }

    /// The program that runs the workers.
    pub fn agent(&self) -> &Program {
        &self.agent
    }

    /// Where the workers listen, on the loopback of their host, for those who stand beside the gateway.
    pub async fn workers(&self) -> Result<Vec<SocketAddr>> {
        let status = self.status().await?;
        let ports = status.serving().map(|replica| replica.port.context("a replica has no port"));
        ports.map(|port| Ok(SocketAddr::from(([127, 0, 0, 1], port?)))).collect()
    }

    /// Says how many replicas are wanted.
    pub async fn scale(&self, count: usize) -> Result<()> {
        self.post("/scale", &json!({ "count": count }).to_string()).await
    }

    /// Scales, and waits until exactly so many replicas run and all of them are ready.
    pub async fn settle(&self, count: usize) -> Result<()> {
        self.scale(count).await?;
        let deadline = Instant::now() + GIVE_UP;
        loop {
            let status = self.status().await;
            if status.as_ref().is_ok_and(|status| status.is_settled(count)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seen = status.map_or_else(|error| format!("{error:#}"), |status| format!("{status:?}"));
                let ends = [&self.controller, &self.agent].map(Program::log_end).join("\n");
                bail!("not within {} s: {count} replicas run\nlast seen: {seen}\n{ends}", GIVE_UP.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn status(&self) -> Result<Status> {
        let answer = http1::call(self.port, Method::GET, "/status", "").await?;
        ensure!(answer.status.is_success(), "/status: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).context("/status is not what was promised")
    }

    async fn post(&self, path: &str, body: &str) -> Result<()> {
        let answer = http1::call(self.port, Method::POST, path, body).await?;
        ensure!(answer.status.is_success(), "{path} {body}: {} {}\n{}", answer.status, answer.text(), self.controller.log_end());
        Ok(())
    }
}

fn start_agent(place: &Place, listen: &[&OsStr], dir: &Path) -> Result<Program> {
    let runtime_dir = dir.join("agent");
    let mut args = listen.to_vec();
    args.extend([OsStr::new("--runtime-dir"), runtime_dir.as_os_str()]);
    Program::ours("agent", place, &args, dir)
}

impl Drop for Ostler {
    fn drop(&mut self) {
        // The agent is killed, and what it ran must follow it before its directory goes.
        let ran = Process::descendants(self.agent.pid());
        if let Some(agent) = Process::of(self.agent.pid()) {
            // It may have ended this very moment.
            let _ = agent.signal(Signal::KILL);
        }
        let deadline = Instant::now() + GONE_MAX;
        while ran.iter().any(|process| !process.is_gone()) && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        for process in ran.iter().filter(|process| !process.is_gone()) {
            let _ = process.signal(Signal::KILL);
        }
    }
}
