//! The life of an agent, from its first line in the log to its last.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::{Server, serve};
use crate::artifact;
use crate::config::Config;
use crate::guardian::keeper::{Keeper, NoInventory};
use crate::logs::{self, LogDir};
use crate::node;
use crate::os::{self, ManagerWord, Signals};
use crate::owner::{Door, Ended, Owner};
use crate::runtime_dir::{self, RuntimeDir};

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This system.
    #[error(transparent)]
    System(#[from] os::Error),
    /// Its address.
    #[error(transparent)]
    Listen(#[from] gateway::listen::Error),
    /// Its name.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// Its runtime directory.
    #[error(transparent)]
    RuntimeDir(#[from] runtime_dir::Error),
    /// Its log directory.
    #[error(transparent)]
    LogDir(#[from] logs::Error),
    /// The guardian that it found.
    #[error(transparent)]
    NoInventory(#[from] NoInventory),
    /// Its guardian.
    #[error("cannot start the guardian, this program as a second process: {0}")]
    Guardian(#[source] io::Error),
    /// Something that the system gives every program.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs an agent until it is asked to end (SIGINT, SIGTERM) and has said goodbye: replicas are replaced elsewhere where that is possible,
/// and stopped here. A second signal ends it at once. With [`Config::keep_workers`] SIGTERM ends the agent alone.
///
/// It needs a tokio runtime of one thread (`current_thread`), in a process that is nothing else: it collects all its child processes.
///
/// # Errors
/// An [`Error`] of one line: it could not start, and nothing was started.
pub async fn run(config: Config) -> Result<(), Error> {
    os::prepare()?;
    // What speaks TLS here takes the process's own; another one that was chosen before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    config.listen.check(config.insecure)?;
    // Before anything that a signal could leave half done.
    let signals = Signals::listen().map_err(|source| Error::Io { what: "listen to signals", source })?;
    let listeners: Vec<_> = config.listen.open(1)?.into_iter().flatten().collect();
    let address = listeners
        .first()
        .ok_or_else(|| io::Error::other("there is no listener"))
        .and_then(std::net::TcpListener::local_addr)
        .map_err(|source| Error::Io { what: "tell the address that it listens on", source })?;
    let keeps = config.keep_workers;
    let facts = node::facts(config.name.as_deref(), &config.labels, address.port(), keeps)?;
    let runtime = RuntimeDir::open(config.runtime_dir.as_deref(), address, keeps)?;
    let logs = match LogDir::open(config.log_dir.as_deref(), config.runtime_dir.as_deref(), address) {
        Ok(logs) => logs,
        Err(e) => {
            // What is kept there is for the next start.
            if !keeps {
                runtime.remove();
            }
            return Err(e.into());
        }
    };
    let keeper = if keeps {
        Keeper::keep(runtime.mark(), runtime.path(), os::keep_trees(runtime.path()))
    } else {
        Keeper::start(runtime.mark(), os::make_trees(runtime.path()))
    };
    let mut keeper = match keeper {
        Ok(keeper) => keeper,
        Err(e) => {
            logs.close();
            if !keeps {
                runtime.remove();
            }
            return Err(Error::Guardian(e));
        }
    };
    let inventory = if keeps { keeper.inventory().await? } else { vec![] };
    let (name, guardian) = (facts.name.clone(), keeper.pid());
    let artifacts = artifact::Settings { directory: config.cache_dir, bytes_max: config.cache_bytes_max };
    let mut owner = Owner::new(facts, address, runtime, logs, keeper, artifacts);
    if keeps {
        owner = owner.adopt(inventory);
    }

    let (door, requests) = Door::new();
    let server = Arc::new(Server::new(door, config.allow_host, config.insecure));
    serve(&server, listeners).map_err(|source| Error::Io { what: "accept connections", source })?;
    // A task of its own: what the others do for it then wakes it without a call to the system.
    let owner = tokio::spawn(owner.run(signals, requests));
    announce(&name, address, guardian);
    os::tell_manager(ManagerWord::Ready);
    let Ended { keeper, runtime, logs, uses, is_kept } =
        owner.await.map_err(|e| Error::Io { what: "go on", source: io::Error::other(e) })?;

    uses.end().await;
    if is_kept {
        tracing::info!("the agent has ended; its replicas run on");
        return Ok(());
    }
    // The guardian first: after a second signal whatever still runs is to end at once.
    keeper.end().await;
    if keeps && let Err(e) = runtime.end_leftovers() {
        tracing::error!("{e}");
    }
    server.end().await;
    logs.close();
    runtime.remove();
    tracing::info!("the agent has ended");
    Ok(())
}

fn announce(name: &str, address: SocketAddr, guardian: Option<u32>) {
    tracing::info!(%name, port = address.port(), guardian, "the agent is ready");
}
