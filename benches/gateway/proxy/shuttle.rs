//! The floor: this program again, as a byte shuttle.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Proxy;
use crate::harness::Program;
use crate::harness::namespaces::Place;
use crate::shuttle::ARG;

/// In front of these, at a free port of this host.
pub async fn start(upstreams: &[SocketAddr], dir: &Path) -> Result<Proxy> {
    let path = std::env::current_exe().context("cannot find the own program")?;
    let address = super::free_address([127, 0, 0, 1].into())?;
    let addresses: Vec<String> = std::iter::once(&address).chain(upstreams).map(SocketAddr::to_string).collect();
    let args: Vec<&OsStr> = std::iter::once(ARG).chain(addresses.iter().map(String::as_str)).map(OsStr::new).collect();
    let mut program = Program::foreign("shuttle", &Place::Here, &path, &args, dir)?;
    program.accepts(address).await?;
    Ok(Proxy { program, address })
}
