//! nginx.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::geteuid;

use super::{Proxy, threads};
use crate::harness::namespaces::Place;
use crate::harness::{Program, program};

/// Whether it is installed.
pub fn is_installed() -> bool {
    program::find("nginx").is_some()
}

/// In front of these, at a free port of this host.
pub async fn start(upstreams: &[SocketAddr], dir: &Path) -> Result<Proxy> {
    start_at(super::free_address([127, 0, 0, 1].into())?, &Place::Here, upstreams, dir).await
}

/// In front of these, at this address of that host.
pub async fn start_at(address: SocketAddr, place: &Place, upstreams: &[SocketAddr], dir: &Path) -> Result<Proxy> {
    let path = program::find("nginx").context("nginx is not installed")?;
    let dir = dir.join(format!("nginx-{}", address.port()));
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join("nginx.conf");
    fs::write(&file, config(address, upstreams, &dir)).with_context(|| format!("cannot write {}", file.display()))?;
    let log = dir.join("error.log");
    let args = [OsStr::new("-p"), dir.as_os_str(), OsStr::new("-c"), file.as_os_str(), OsStr::new("-e"), log.as_os_str()];
    let mut program = Program::foreign("nginx", place, &path, &args, &dir)?;
    program.accepts(address).await?;
    // It listens before its workers are there.
    program.has_children(threads()).await?;
    Ok(Proxy { program, address })
}

/// With large enough buffers that a large answer is never written to a file.
fn config(address: SocketAddr, upstreams: &[SocketAddr], dir: &Path) -> String {
    let dir = dir.display();
    let threads = threads();
    let mut servers = String::new();
    for upstream in upstreams {
        let _ = writeln!(servers, "    server {upstream};");
    }
    // The directory is ours alone, so its workers must be who we are.
    let user = if geteuid().is_root() { "user root root;" } else { "" };
    format!(
        "daemon off;
{user}
worker_processes {threads};
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{
  worker_connections 16384;
}}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  tcp_nodelay on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  upstream workers {{
{servers}    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} reuseport backlog=4096;
    location / {{
      proxy_pass http://workers;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"
    )
}
