//! What a controller is told at its start.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster::Settings;
use cluster::settings::LOST_AFTER_MS_MIN;
use cluster::traffic::Traffic;
use gateway::access_log;
use gateway::listen::Listen;

use crate::app_source::AppsFrom;

/// What a controller is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where API and apps are served.
    pub listen: Listen,
    /// A port of the gateway's own, where every path is the app's.
    pub gateway_listen: Option<SocketAddr>,
    /// Where the store is; a default is looked up where it is not said.
    pub data_dir: Option<PathBuf>,
    /// A node that has said nothing for so long is lost.
    pub lost_after: Duration,
    /// Where apps come from; where it is not said the seed's `worker` is built in.
    pub apps: Option<AppsFrom>,
    /// Listen on an address that is not loopback, or read apps from another host in the clear, without TLS and tokens.
    pub insecure: bool,
    /// Host names by which the API may be called, beside `localhost` and IP addresses.
    pub allow_host: Vec<String>,
    /// How requests are spread over the replicas of each app.
    pub traffic: Traffic,
    /// Where each request is written down, if anywhere.
    pub access_log: Option<access_log::Config>,
    /// Deadlines and bounds of the gateway.
    pub gateway_limits: gateway::Limits,
    /// Proxies in front of the gateway that are believed.
    pub trusted_proxies: Vec<gateway::Network>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `lost_after` is too short.
    #[error("--lost-after {0} ms is too short: an agent is heard every 500 ms, so it must be at least {LOST_AFTER_MS_MIN} ms")]
    LostAfter(u128),
    /// No place for the data.
    #[error("there is no HOME to keep data under; name a directory with --data-dir")]
    NoHome,
}

impl Config {
    /// The durations of the cluster.
    ///
    /// # Errors
    /// [`Error::LostAfter`].
    pub fn settings(&self) -> Result<Settings, Error> {
        let lost_after_ms = u64::try_from(self.lost_after.as_millis()).unwrap_or(u64::MAX);
        if lost_after_ms < LOST_AFTER_MS_MIN {
            return Err(Error::LostAfter(self.lost_after.as_millis()));
        }
        Ok(Settings { lost_after_ms, traffic: self.traffic.clone(), ..Settings::default() })
    }

    /// The data directory: as configured, else `$STATE_DIRECTORY` (systemd), else /var/lib/ostler for root, else
    /// ~/.local/state/ostler.
    ///
    /// # Errors
    /// [`Error::NoHome`].
    pub fn data_directory(&self) -> Result<PathBuf, Error> {
        match &self.data_dir {
            Some(directory) => Ok(directory.clone()),
            None => default_directory(is_root(), &|name| std::env::var_os(name)),
        }
    }
}

fn default_directory(is_root: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(directories) = set("STATE_DIRECTORY") {
        // systemd.exec(5): several are separated by colons.
        if let Some(first) = std::env::split_paths(&directories).next() {
            return Ok(first);
        }
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/ostler"));
    }
    if cfg!(windows) {
        return set("LOCALAPPDATA").map(|home| PathBuf::from(home).join("ostler")).ok_or(Error::NoHome);
    }
    set("HOME").map(|home| PathBuf::from(home).join(".local/state/ostler")).ok_or(Error::NoHome)
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(is_root: bool, variables: &[(&str, &str)]) -> Result<PathBuf, Error> {
        default_directory(is_root, &|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[cfg(unix)]
    #[test]
    fn the_data_directory_is_the_state_directory_else_the_users_own() {
        assert_eq!(of(true, &[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/h")]), Ok(PathBuf::from("/a")));
        assert_eq!(of(true, &[("STATE_DIRECTORY", ""), ("HOME", "/h")]), Ok(PathBuf::from("/var/lib/ostler")));
        assert_eq!(of(false, &[("HOME", "/h")]), Ok(PathBuf::from("/h/.local/state/ostler")));
        assert_eq!(of(false, &[]), Err(Error::NoHome));
    }
}
