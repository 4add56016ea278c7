//! `agent`: its command line, and the runtime that it gets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent::Config;
use anyhow::anyhow;
use gateway::listen::Listen;

use crate::log::{self, LogArgs};
use crate::parent;
use crate::size::{self, Size};

/// How long work on blocking threads may still take when the role has ended.
const LEAVE: Duration = Duration::from_secs(2);

/// Runs on each host: starts, watches and stops the programs that a controller assigns to it.
///
/// A program is looked for in the agent's working directory, beside the agent's own program, and on PATH. Register the
/// agent with `ostler add-node http://HOST:PORT`. With Ctrl+C or SIGTERM it says goodbye: its replicas are replaced on other
/// hosts before they stop; a second Ctrl+C stops them at once. With --keep-workers SIGTERM ends the agent alone.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// Listen on this address and port only, as in 10.0.0.5:9091 [default: 127.0.0.1 and ::1, port 9091]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "port", value_parser = super::parse_address)]
    listen: Option<SocketAddr>,
    /// Port to listen on, on loopback; 0 takes a free one
    #[arg(long, default_value_t = 9091)]
    port: u16,
    /// The name of this node [default: HOSTNAME:PORT]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What is said of this host, for apps to choose by, as in zone=a; may be given several times. `ostler label` overrides it
    #[arg(long, value_name = "KEY=VALUE", value_parser = cluster::label::parse)]
    label: Vec<(String, String)>,
    /// Where pipes of running replicas are kept [default: /run/ostler/PORT for root, or $XDG_RUNTIME_DIR/ostler/PORT]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Where output of replicas is kept, for a day after their end [default: DIR/logs if --runtime-dir is given, else
    /// $LOGS_DIRECTORY/PORT, /var/log/ostler/PORT for root, or ~/.local/state/ostler/logs/PORT]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Replicas outlive the agent: the next one on this runtime directory takes them over. SIGTERM then ends the agent alone; Ctrl+C ends
    /// everything
    #[arg(long)]
    keep_workers: bool,
    /// Where artifacts of apps are kept, for all agents of this user on this host [default: $CACHE_DIRECTORY, /var/cache/ostler
    /// for root, or ~/.cache/ostler]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// How much is kept there, as in 500MB or 10GiB; what runs is kept beyond that, else the least recently used goes first
    #[arg(long, value_name = "SIZE", default_value_t = Size(agent::CACHE_BYTES_MAX), value_parser = size::parse)]
    cache_max: Size,
    /// Let it listen on an address that is not loopback, in the clear: everybody who reaches it can run programs here
    #[arg(long)]
    insecure: bool,
    /// Host names by which the agent may be called, beside localhost and IP addresses
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    allow_host: Vec<String>,
    /// Stop when stdin ends.
    #[arg(long, hide = true)]
    stop_with_parent: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl AgentArgs {
    /// What the command line says, as the crate takes it.
    pub fn config(&self) -> Config {
        Config {
            listen: self.listen.map_or(Listen::Loopback { port: self.port }, Listen::Exactly),
            name: self.name.clone(),
            labels: self.label.iter().cloned().collect(),
            runtime_dir: self.runtime_dir.clone(),
            log_dir: self.log_dir.clone(),
            keep_workers: self.keep_workers,
            cache_dir: self.cache_dir.clone(),
            cache_bytes_max: self.cache_max.0,
            insecure: self.insecure,
            allow_host: self.allow_host.clone(),
        }
    }
}

/// Runs until a signal.
pub fn run(args: AgentArgs) -> anyhow::Result<()> {
    log::start(&args.log);
    if args.stop_with_parent {
        parent::stop_with_parent()?;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| anyhow!("cannot start the runtime: {error}"))?;
    let result = runtime.block_on(agent::run(args.config()));
    runtime.shutdown_timeout(LEAVE);
    Ok(result?)
}
