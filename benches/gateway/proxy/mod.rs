//! Who the gateway is compared with, each set up as those who know it would: connections to the workers are kept, one thread
//! per core, no access log, the fields of a request that a proxy is expected to add.

pub mod haproxy;
pub mod nginx;
pub mod shuttle;

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

use crate::harness::{Process, Program};

/// A proxy that runs. When it is dropped, it is gone.
pub struct Proxy {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Proxy {
    /// All of its processes.
    pub fn pids(&self) -> Vec<i32> {
        let children = Process::descendants(self.program.pid());
        std::iter::once(self.program.pid()).chain(children.iter().map(|process| process.pid)).collect()
    }
}

/// A port that is free now. None of these programs can choose one itself and say which.
fn free_address(ip: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("no port is free on {ip}"))?;
    Ok(listener.local_addr()?)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
