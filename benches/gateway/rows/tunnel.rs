//! Workers on another host: through the agent's tunnel, against an nginx on each host.

use std::net::SocketAddr;

use anyhow::Result;

use super::small::{to_itself, to_nginx};
use super::{WORKERS, stage};
use crate::contest::{self, Contestant, Turn, Who};
use crate::harness::{Namespaces, Ostler};
use crate::options::Options;
use crate::proxy::nginx;
use crate::table::{Bar, Outcome};
use crate::wrk::Load;

const CONNECTIONS: usize = 64;
/// It is free: on the far host there is nothing but what is started here.
const FAR_PORT: u16 = 8080;

/// The gateway, the first nginx and wrk on the near host; the agent, the second nginx and the workers on the far one.
pub async fn measure(options: &Options) -> Result<Outcome> {
    let dir = stage::directory()?;
    let hosts = Namespaces::enter()?;
    let ostler = Ostler::start_apart(WORKERS, dir.path(), &hosts.far(), Namespaces::FAR_IP).await?;
    let pids = vec![ostler.controller().pid(), ostler.agent().pid()];
    let mut contestants = vec![Contestant { who: Who::Ostler, address: ostler.address(), pids }];
    // Held to the end, in this order.
    let _pair = if nginx::is_installed() {
        let far_address: SocketAddr = format!("{}:{FAR_PORT}", Namespaces::FAR_IP).parse()?;
        let far = nginx::start_at(far_address, &hosts.far(), &ostler.workers().await?, dir.path()).await?;
        let near = nginx::start(&[far_address], dir.path()).await?;
        let pids = [near.pids(), far.pids()].concat();
        contestants.push(Contestant { who: Who::Nginx, address: near.address, pids });
        Some((near, far))
    } else {
        None
    };
    stage::again(&mut contestants);
    let load = Load { connections: CONNECTIONS, path: "/", is_closing: false, seconds: options.turn_seconds };
    let results = contest::hold(&contestants, load, options.rounds, dir.path()).await?;
    let rows = vec![
        to_nginx(&results, "req/s, workers on another host, to nginx -> nginx", Bar::AtLeast(1.0, 1.3), Turn::req_per_s),
        to_itself(&results, "req/s, workers on another host, nginx -> nginx to itself", Turn::req_per_s),
    ];
    Ok(Outcome { rows, figures: results.figures("other host") })
}
