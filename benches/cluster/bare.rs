//! The floor: a bare loop that spawns the same program and connects until it is accepted. No cluster, no supervision, no HTTP.
//!
//! It has every advantage: its ports are reserved before the clock starts, its output goes nowhere, and of several degrees of
//! parallelism and pauses between two tries it takes the fastest.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::net::TcpSocket;

use crate::harness::program;

/// How long one program may take until it accepts.
const READY_MAX: Duration = Duration::from_secs(10);
/// The ways of going about it that are tried.
const PARALLEL: [usize; 6] = [1, 2, 4, 8, 16, 32];
const PAUSES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(1)];

/// A way of starting many programs.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// How many are being started at any moment.
    pub parallel: usize,
    /// The pause between two tries to connect.
    pub pause: Duration,
}

impl Way {
    /// One after the other.
    pub const SINGLE: Way = Way { parallel: 1, pause: Duration::from_micros(100) };

    /// The fastest way here to start `count` programs, each way tried `rounds` times.
    pub fn fastest(count: usize, rounds: usize) -> Result<Way> {
        let ways = PARALLEL.into_iter().flat_map(|parallel| PAUSES.map(|pause| Way { parallel, pause }));
        let mut best: Option<(Duration, Way)> = None;
        for way in ways {
            for _ in 0..rounds {
                let took = spawn_and_connect(count, way)?;
                if best.is_none_or(|(least, _)| took < least) {
                    best = Some((took, way));
                }
            }
        }
        best.map(|(_, way)| way).ok_or_else(|| anyhow!("there is no way to try"))
    }
}

/// Starts `count` workers, and returns how long it took until each had accepted a connection. They are gone when it returns.
pub fn spawn_and_connect(count: usize, way: Way) -> Result<Duration> {
    let worker = program::path("worker")?;
    let ports = (0..count).map(|_| Reserved::new()).collect::<Result<Vec<Reserved>>>()?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let started = thread::scope(|scope| {
        let lanes: Vec<_> = (0..way.parallel.min(count)).map(|_| scope.spawn(|| lane(&worker, &ports, &next, way.pause))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| Err(anyhow!("a lane panicked")))).collect::<Result<Vec<Workers>>>()
    });
    let took = begun.elapsed();
    drop(started?);
    Ok(took)
}

fn lane(worker: &Path, ports: &[Reserved], next: &AtomicUsize, pause: Duration) -> Result<Workers> {
    let mut workers = Workers(Vec::new());
    while let Some(reserved) = ports.get(next.fetch_add(1, Ordering::Relaxed)) {
        workers.0.push(spawn(worker, reserved.port).with_context(|| format!("cannot start {}", worker.display()))?);
        let deadline = Instant::now() + READY_MAX;
        while !accepts(reserved.port) {
            if Instant::now() > deadline {
                bail!("a bare worker did not accept connections on port {} within {} s", reserved.port, READY_MAX.as_secs());
            }
            thread::sleep(pause);
        }
    }
    Ok(workers)
}

/// With the environment that an agent gives it.
fn spawn(worker: &Path, port: u16) -> std::io::Result<Child> {
    let inherited = ["PATH", "HOME", "LANG", "TZ"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(worker)
        .env_clear()
        .envs(inherited)
        .env("HOST", "127.0.0.1")
        .env("PORT", port.to_string())
        .env("OSTLER_REPLICA_ID", format!("bare-{port}"))
        .env("OSTLER_APP", "worker")
        .env("OSTLER_NODE", "bare")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn accepts(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) else { return false };
    // With nobody listening, TCP can connect a socket to itself.
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local != peer)
}

/// A port that nobody else gets: bound and not listening, so that the worker can bind beside it.
struct Reserved {
    port: u16,
    _socket: TcpSocket,
}

impl Reserved {
    fn new() -> Result<Reserved> {
        let reserve = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            Ok::<_, std::io::Error>(Reserved { port: socket.local_addr()?.port(), _socket: socket })
        };
        reserve().context("cannot reserve a port")
    }
}

/// Started workers, ended when dropped.
struct Workers(Vec<Child>);

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It fails only for one that has ended.
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}
