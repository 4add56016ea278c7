//! The load: wrk with one thread. Where it is not installed, its scenarios are skipped.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::program;

/// How long wrk may take beyond the time that it was given.
const OVERTIME: Duration = Duration::from_secs(20);

/// Without functions for single requests, so that wrk builds its request once.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes, errors,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// What wrk is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many connections it holds.
    pub connections: usize,
    /// What it asks for.
    pub path: &'static str,
    /// `Connection: close` in each request, so that each takes a new connection.
    pub is_closing: bool,
    /// How long.
    pub seconds: u64,
}

/// What wrk saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Answers.
    pub requests: f64,
    /// How long it took.
    pub seconds: f64,
    /// What was read.
    pub bytes: f64,
    /// Requests that did not get a good answer.
    pub errors: f64,
    /// The median latency.
    pub p50_ms: f64,
    /// The latency that one in a hundred is above.
    pub p99_ms: f64,
}

/// Why there can be no load, if so.
pub fn missing() -> Option<&'static str> {
    program::find("wrk").is_none().then_some("wrk is not installed (on Debian: apt-get install wrk)")
}

impl Load {
    /// Puts it on this address. The script goes into `dir`.
    pub async fn put_on(&self, address: &str, dir: &Path) -> Result<Seen> {
        let script = dir.join("result.lua");
        fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
        let mut command = Command::new("wrk");
        command.args(["-t1", "--timeout", "10s"]);
        command.args([format!("-c{}", self.connections), format!("-d{}s", self.seconds)]);
        command.arg("-s").arg(&script);
        if self.is_closing {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{address}{}", self.path));
        let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = timeout(Duration::from_secs(self.seconds) + OVERTIME, running).await.context("wrk does not end")??;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).with_context(|| format!("wrk said no result:\n{text}"))?;
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(|| line.to_owned())?;
        let [requests, duration_us, bytes, errors, p50_us, p99_us] = numbers[..] else { anyhow::bail!("wrk said: {line}") };
        ensure!(requests > 0.0, "no request was answered; {errors} errors");
        Ok(Seen { requests, seconds: duration_us / 1e6, bytes, errors, p50_ms: p50_us / 1e3, p99_ms: p99_us / 1e3 })
    }
}
