//! `worker`: its command line, and the runtime that it gets.

use std::net::IpAddr;

use anyhow::anyhow;
use worker::Config;

/// The demo payload: a small HTTP server that says who it is.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Paths:
  /            and every path that is not below: Hello from Worker ID: <id>. Uptime: 12s
  /healthz     ok
  /echo        sends the body back while it arrives
  POST /crash  ends the process at once, with exit code 1 or ?code=N

Parameters, on any path:
  ?delay_ms=N  answers after so many milliseconds (0 to 600000)
  ?status=N    answers with this status (200 to 599)
  ?bytes=N     answers with so many bytes (0 to 1073741824)

A socket that is handed over to it (LISTEN_FDS, sd_listen_fds(3)) is served instead of one at
HOST and PORT. Its id comes from OSTLER_REPLICA_ID, else it draws one. On SIGTERM or Ctrl+C it stops
accepting, finishes the requests that it has, and exits 0; a second signal ends it at once.")]
pub struct WorkerArgs {
    /// Address to listen on
    #[arg(long, env = "HOST", value_name = "ADDR", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 0)]
    port: u16,
}

/// Runs until a signal.
pub fn run(args: WorkerArgs) -> anyhow::Result<()> {
    #[cfg(unix)]
    let listener = super::handed_over::take()?.into_iter().next().map(gateway::inherited::Inherited::into_listener);
    // Elsewhere nobody hands sockets over.
    #[cfg(not(unix))]
    let listener = None;
    let id = std::env::var(worker::ID_VARIABLE).ok().filter(|id| !id.is_empty()).unwrap_or_else(worker::random_id);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| anyhow!("cannot start the runtime: {error}"))?;
    Ok(runtime.block_on(worker::run(Config { host: args.host, port: args.port, id, listener }))?)
}
