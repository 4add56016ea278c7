//! HAProxy.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Proxy, threads};
use crate::harness::namespaces::Place;
use crate::harness::{Program, program};

/// Whether it is installed.
pub fn is_installed() -> bool {
    program::find("haproxy").is_some()
}

/// In front of these, at a free port of this host.
pub async fn start(upstreams: &[SocketAddr], dir: &Path) -> Result<Proxy> {
    let path = program::find("haproxy").context("HAProxy is not installed")?;
    let address = super::free_address([127, 0, 0, 1].into())?;
    let file = dir.join(format!("haproxy-{}.cfg", address.port()));
    fs::write(&file, config(address, upstreams)).with_context(|| format!("cannot write {}", file.display()))?;
    let args = [OsStr::new("-db"), OsStr::new("-f"), file.as_os_str()];
    let mut program = Program::foreign("haproxy", &Place::Here, &path, &args, dir)?;
    program.accepts(address).await?;
    Ok(Proxy { program, address })
}

/// `shards by-thread` is its SO_REUSEPORT: a listener for each thread.
fn config(address: SocketAddr, upstreams: &[SocketAddr]) -> String {
    let threads = threads();
    let mut servers = String::new();
    for (at, upstream) in upstreams.iter().enumerate() {
        let _ = writeln!(servers, "  server worker-{at} {upstream}");
    }
    format!(
        "global
  nbthread {threads}
  maxconn 4096

defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
  option forwardfor

frontend clients
  bind {address} shards by-thread backlog 4096
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend workers

backend workers
  balance roundrobin
  http-reuse always
{servers}"
    )
}
