//! All proxies that there are, in front of the same workers.

use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::WORKERS;
use crate::contest::{self, Contestant, Results, Who};
use crate::harness::Ostler;
use crate::options::Options;
use crate::proxy::{Proxy, haproxy, nginx, shuttle};
use crate::wrk::Load;

/// A private directory for one scenario.
pub fn directory() -> Result<TempDir> {
    tempfile::Builder::new().prefix("ostler-bench-").tempdir().context("cannot make a directory")
}

/// Holds one contest of all of them.
pub async fn contest(load: Load, options: &Options) -> Result<Results> {
    let dir = directory()?;
    let ostler = Ostler::start(WORKERS, dir.path()).await?;
    let proxies = proxies(&ostler, dir.path()).await?;
    let own = Contestant { who: Who::Ostler, address: ostler.address(), pids: vec![ostler.controller().pid()] };
    let others = proxies.iter().map(|(who, proxy)| Contestant { who: *who, address: proxy.address, pids: proxy.pids() });
    let mut contestants: Vec<Contestant> = std::iter::once(own).chain(others).collect();
    again(&mut contestants);
    contest::hold(&contestants, load, options.rounds, dir.path()).await
}

/// nginx has a second turn in each round.
pub fn again(contestants: &mut Vec<Contestant>) {
    if let Some(nginx) = contestants.iter().find(|contestant| contestant.who == Who::Nginx) {
        let again = Contestant { who: Who::NginxAgain, ..nginx.clone() };
        contestants.push(again);
    }
}

async fn proxies(ostler: &Ostler, dir: &Path) -> Result<Vec<(Who, Proxy)>> {
    let workers = ostler.workers().await?;
    let mut proxies = Vec::new();
    if nginx::is_installed() {
        proxies.push((Who::Nginx, nginx::start(&workers, dir).await?));
    }
    if haproxy::is_installed() {
        proxies.push((Who::HaProxy, haproxy::start(&workers, dir).await?));
    }
    proxies.push((Who::Floor, shuttle::start(&workers, dir).await?));
    Ok(proxies)
}
