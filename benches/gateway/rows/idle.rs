//! What a connection costs on which nothing happens: one request each, then silence.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{WORKERS, stage};
use crate::harness::{Ostler, Process};
use crate::proxy::nginx;
use crate::samples::median;
use crate::table::{Bar, Outcome, Row, Unit};

const CONNECTIONS: usize = 10_000;
/// Longer than kept connections to workers are kept, so that only those of the clients are counted.
const REST: Duration = Duration::from_secs(6);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const KB: f64 = 1e3;

/// A new cluster each time: memory that was used once is not always given back.
pub async fn measure(runs: usize) -> Result<Outcome> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = stage::directory()?;
        let ostler = Ostler::start(WORKERS, dir.path()).await?;
        own.push(cost_kb(ostler.address(), &[ostler.controller().pid()]).await.context("Ostler")?);
        if nginx::is_installed() {
            let nginx = nginx::start(&ostler.workers().await?, dir.path()).await?;
            others.push(cost_kb(nginx.address, &nginx.pids()).await.context("nginx")?);
        }
    }
    let row = Row::new("memory of an idle connection (10,000, RSS)", Unit::Kilobytes, Bar::AtMost(20.0, 8.0), own, 0.0);
    let row = match median(&others) {
        Some(nginx_kb) => row.note(format!("of nginx {nginx_kb:.1} KB")),
        None => row,
    };
    Ok(Outcome { rows: vec![row], figures: Vec::new() })
}

async fn cost_kb(address: SocketAddr, pids: &[i32]) -> Result<f64> {
    // What is made at the first request is no cost of a connection.
    drop(connections(address, 100).await?);
    sleep(REST).await;
    let before = rss(pids)?;
    let held = connections(address, CONNECTIONS).await?;
    sleep(REST).await;
    let after = rss(pids)?;
    drop(held);
    Ok((after - before) / CONNECTIONS as f64 / KB)
}

async fn connections(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut held = Vec::with_capacity(count);
    for at in 0..count {
        let what = || format!("connection {at}");
        let mut stream = TcpStream::connect(address).await.with_context(what)?;
        stream.write_all(request.as_bytes()).await.with_context(what)?;
        let mut answer = Vec::with_capacity(512);
        while !answer.ends_with(b"s\n") {
            let read = timeout(ANSWER_MAX, stream.read_buf(&mut answer)).await.with_context(what)?.with_context(what)?;
            ensure!(read > 0, "connection {at} was closed: {}", String::from_utf8_lossy(&answer));
        }
        held.push(stream);
    }
    Ok(held)
}

fn rss(pids: &[i32]) -> Result<f64> {
    let memory = pids.iter().map(|pid| Ok(Process::of(*pid).context("it has ended")?.memory()?.rss));
    memory.sum()
}
