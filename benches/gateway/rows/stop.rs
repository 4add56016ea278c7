//! A replica is to stop: how soon the gateway has let go of it.
//!
//! The acknowledgement itself stays inside the controller, so what encloses it is measured: from the moment at which
//! `/v1/routes` shows a table without the replica, until the agent logs that it has sent SIGTERM, which it is only told
//! to do when the gateway has acknowledged that table and has nothing under way to the replica.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stage;
use crate::harness::Ostler;
use crate::samples::median;
use crate::table::{Bar, Outcome, Row, Unit};

const LOOK_EVERY: Duration = Duration::from_millis(1);
const CHANGE_MAX: Duration = Duration::from_secs(10);
const DAY_S: f64 = 86_400.0;

/// From two replicas to one, and back.
pub async fn measure(runs: usize) -> Result<Outcome> {
    let dir = stage::directory()?;
    let ostler = Ostler::start(2, dir.path()).await?;
    let mut routes = Routes::read(ostler.port).await?;
    let (mut from_table, mut from_call) = (Vec::new(), Vec::new());
    for run in 0..runs {
        ostler.settle(2).await?;
        timeout(CHANGE_MAX, routes.until(2)).await.context("no table with 2 replicas")??;
        let called = second_of_day();
        let (scaled, left_out) = tokio::join!(ostler.scale(1), timeout(CHANGE_MAX, routes.until(1)));
        scaled?;
        let left_out = left_out.context("no table with 1 replica")??;
        let stopped = stopping_at(&ostler, run).await?;
        from_table.push((stopped - left_out).rem_euclid(DAY_S) * 1e3);
        from_call.push((stopped - called).rem_euclid(DAY_S) * 1e3);
    }
    let whole = median(&from_call).unwrap_or_default();
    let row = Row::new("a table without the replica -> it gets SIGTERM", Unit::Milliseconds, Bar::AtMost(5.0, 1.0), from_table, 0.0)
        .note("the gateway's acknowledgement, the decision that waits for it, and the call to the agent")
        .note(format!("from the scale call to SIGTERM it is {whole:.2} ms"));
    Ok(Outcome { rows: vec![row], figures: Vec::new() })
}

/// When the agent logged its `run`th stop.
async fn stopping_at(ostler: &Ostler, run: usize) -> Result<f64> {
    let deadline = Instant::now() + CHANGE_MAX;
    loop {
        let log = ostler.agent().log();
        if let Some(line) = log.lines().filter(|line| line.contains(" stopping ")).nth(run) {
            return logged_at(line).with_context(|| format!("no time in: {line}"));
        }
        ensure!(Instant::now() < deadline, "no replica was stopped\n{}", ostler.agent().log_end());
        sleep(LOOK_EVERY).await;
    }
}

/// The second of the day in `2026-01-31T12:34:56.123456Z ...`.
fn logged_at(line: &str) -> Option<f64> {
    let (_, time) = line.split_once('Z')?.0.split_once('T')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

fn second_of_day() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() % DAY_S
}

/// The routing table's versions as they come.
struct Routes {
    body: Incoming,
    unread: Vec<u8>,
    // What moves the bytes; it ends with the connection.
    _driver: JoinSet<()>,
}

impl Routes {
    async fn read(port: u16) -> Result<Routes> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut sender, driver) = handshake(TokioIo::new(stream)).await?;
        let mut driving = JoinSet::new();
        driving.spawn(async {
            // Its error is the error of the body.
            let _ = driver.await;
        });
        let request = Request::get("/v1/routes").header(HOST, format!("localhost:{port}")).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await.context("/v1/routes")?;
        ensure!(answer.status().is_success(), "/v1/routes: {}", answer.status());
        Ok(Routes { body: answer.into_body(), unread: Vec::new(), _driver: driving })
    }

    /// Waits for a table with so many replicas; returns when it came.
    async fn until(&mut self, replicas: usize) -> Result<f64> {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let table: Value = serde_json::from_slice(&line).unwrap_or_default();
                if table["apps"]["worker"]["replicas"].as_array().is_some_and(|routes| routes.len() == replicas) {
                    return Ok(second_of_day());
                }
            }
            let frame = self.body.frame().await.context("/v1/routes ended")?.context("/v1/routes broke off")?;
            self.unread.extend(frame.data_ref().into_iter().flatten());
        }
    }
}
