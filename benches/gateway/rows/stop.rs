//! A replica is to stop: how soon the gateway has let go of it.
//!
//! The acknowledgement itself stays inside the controller, so what encloses it is measured: from the call that makes a
//! replica superfluous until the agent logs that it has sent SIGTERM. The agent is told to only when the gateway has
//! acknowledged a table without the replica and has nothing under way to it.

use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use super::stage;
use crate::harness::Ostler;
use crate::samples::median;
use crate::table::{Bar, Outcome, Row, Unit};
use crate::wrk::{self, Load};

const LOOK_EVERY: Duration = Duration::from_millis(1);
const CHANGE_MAX: Duration = Duration::from_secs(10);
const DAY_S: f64 = 86_400.0;
/// What the gateway does beside, in the second half.
const LOAD: Load = Load { connections: 64, path: "/", is_closing: false, seconds: 5 };

/// From two replicas to one, and back.
pub async fn measure(runs: usize) -> Result<Outcome> {
    let dir = stage::directory()?;
    let ostler = Ostler::start(2, dir.path()).await?;
    let mut idle = Vec::new();
    while idle.len() < runs {
        idle.push(stop_ms(&ostler, idle.len()).await?);
    }
    let row = Row::new("scaled down -> the gateway let go, and SIGTERM was sent", Unit::Milliseconds, Bar::AtMost(5.0, 1.0), idle, 0.0)
        .note("the store's commit, the gateway's acknowledgement and the call to the agent are in it");
    let row = if wrk::missing().is_none() { row.note(under_load(&ostler, dir.path(), runs).await?) } else { row };
    Ok(Outcome { rows: vec![row], figures: Vec::new() })
}

/// The same while wrk has the gateway busy, as often as fits in.
async fn under_load(ostler: &Ostler, dir: &Path, stops: usize) -> Result<String> {
    let address = ostler.address().to_string();
    let mut load = pin!(LOAD.put_on(&address, dir));
    let mut samples = Vec::new();
    let seen = loop {
        tokio::select! {
            biased;
            seen = &mut load => break seen?,
            sample = stop_ms(ostler, stops + samples.len()) => samples.push(sample?),
        }
    };
    let middle = median(&samples).unwrap_or_default();
    Ok(format!(
        "under load over {} connections {middle:.1} ms (median of {}); of {} requests {} failed",
        LOAD.connections,
        samples.len(),
        seen.requests,
        seen.errors
    ))
}

/// One stop, the first of all being number 0.
async fn stop_ms(ostler: &Ostler, number: usize) -> Result<f64> {
    ostler.settle(2).await?;
    let called = second_of_day();
    ostler.scale(1).await?;
    let stopped = stopping_at(ostler, number).await?;
    Ok((stopped - called).rem_euclid(DAY_S) * 1e3)
}

/// When the agent logged the stop of this number.
async fn stopping_at(ostler: &Ostler, number: usize) -> Result<f64> {
    let deadline = Instant::now() + CHANGE_MAX;
    loop {
        let log = ostler.agent().log();
        if let Some(line) = log.lines().filter(|line| line.contains(" stopping ")).nth(number) {
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
