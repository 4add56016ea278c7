//! `controller`: its command line, and the runtime that it gets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use controller::{AppsFrom, Config, Location};
use gateway::Network;
use gateway::listen::Listen;

use super::gateway_args::GatewayArgs;
use super::traffic::TrafficArgs;
use crate::duration::Milliseconds;
use crate::log::{self, LogArgs};
use crate::{duration, files, parent};

/// How long work on blocking threads may still take when the role has ended.
const LEAVE: Duration = Duration::from_secs(2);

/// The central brain of a cluster: keeps what is wanted, decides what runs where, balances HTTP over it.
///
/// Serves the API (/add-node, /remove-node, /scale, /status and /v1) and everything else as the gateway, on
/// http://localhost:8000 unless told otherwise. Stops with Ctrl+C or SIGTERM; what runs on the agents goes on.
#[derive(Clone, Debug, clap::Args)]
pub struct ControllerArgs {
    /// Listen on this address and port only, as in 10.0.0.5:8000 [default: 127.0.0.1 and ::1, port 8000]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "port", value_parser = super::parse_address)]
    listen: Option<SocketAddr>,
    /// Port to listen on, on loopback; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// One more port for the gateway alone, where every path is the app's; any address
    #[arg(long, value_name = "ADDR:PORT", value_parser = super::parse_address)]
    gateway_listen: Option<SocketAddr>,
    /// Where the desired state is kept [default: $STATE_DIRECTORY, /var/lib/ostler for root, or ~/.local/state/ostler]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where apps come from: each *.toml below s3://BUCKET/PREFIX or dir:///PATH, or each file that https://HOST/INDEX names, is an app
    /// (docs/app-source.md). The credentials of S3 are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, its server from
    /// AWS_ENDPOINT_URL or AWS_REGION
    #[arg(long, value_name = "URL")]
    apps: Option<Location>,
    /// How often the app source is looked at; a change in a directory is seen at once: a number with ms, s, m or h, from 100ms
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(5_000), requires = "apps",
        value_parser = duration::parse_between(Milliseconds(100), Milliseconds(86_400_000)))]
    apps_poll: Milliseconds,
    /// Delete an app whose file is not in the app source any more; without this it runs on
    #[arg(long, requires = "apps")]
    prune: bool,
    /// How long a node may be silent before its replicas are started elsewhere: a number with ms, s, m or h, from 1s
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse_lost_after)]
    lost_after: Duration,
    /// Let it listen on an address that is not loopback, in the clear and for everybody who reaches it; and read apps from another host in
    /// the clear
    #[arg(long)]
    insecure: bool,
    /// Host names by which the API may be called, beside localhost and IP addresses
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    allow_host: Vec<String>,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Proxies in front of the gateway, by address or block (10.0.0.0/8): what they say of where a request came from is believed
    #[arg(long, value_name = "CIDR", num_args = 1.., value_delimiter = ',')]
    trust_proxy: Vec<Network>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Stop when stdin ends.
    #[arg(long, hide = true)]
    stop_with_parent: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl ControllerArgs {
    /// What the command line says, as the crate takes it.
    pub fn config(&self) -> Config {
        Config {
            listen: self.listen.map_or(Listen::Loopback { port: self.port }, Listen::Exactly),
            gateway_listen: self.gateway_listen,
            data_dir: self.data_dir.clone(),
            lost_after: self.lost_after,
            apps: self.apps.clone().map(|location| AppsFrom { location, poll: Duration::from_millis(self.apps_poll.0), prune: self.prune }),
            insecure: self.insecure,
            allow_host: self.allow_host.clone(),
            traffic: self.traffic.traffic(),
            access_log: self.traffic.access_log(),
            gateway_limits: self.gateway.limits(),
            trusted_proxies: self.trust_proxy.clone(),
        }
    }
}

/// Runs until a signal.
pub fn run(args: ControllerArgs) -> anyhow::Result<()> {
    log::start(&args.log);
    #[cfg(unix)]
    let inherited = super::handed_over::take()?;
    // Elsewhere nobody hands sockets over.
    #[cfg(not(unix))]
    let inherited = vec![];
    files::take_all_that_are_allowed();
    if args.stop_with_parent {
        parent::stop_with_parent()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("controller")
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the runtime: {error}"))?;
    let result = runtime.block_on(controller::run(args.config(), inherited));
    runtime.shutdown_timeout(LEAVE);
    Ok(result?)
}
