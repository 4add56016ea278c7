//! An app: what an operator wants run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::artifact::{ABILITY_ARTIFACT, Artifact};
use crate::constraint::Placement;
use crate::health::Check;
use crate::limits::Limits;
use crate::logs::LogSpec;
use crate::placeholder::{self, ABILITY_PLACEHOLDERS};
use crate::restart::{RestartPolicy, When};
use crate::rule::RouteRule;
use crate::run_as::{ABILITY_RUN_AS, ABILITY_SANDBOX, ABILITY_SOCKET, RunAs, Sandbox, SocketMode};
use crate::traffic_policy::TrafficPolicy;

/// The most replicas that may be asked of one app.
pub const COUNT_MAX: u32 = 1_000_000;
/// How many replicas an app has whose spec does not say.
pub const COUNT_DEFAULT: u32 = 1;
/// The most apps that one app may use.
pub const USES_MAX: usize = 64;

/// The ability of an agent to carry out the checks of a spec.
pub const ABILITY_HEALTH: &str = "health";
/// The ability of an agent to leave a process that ended as it is.
pub const ABILITY_RESTART_WHEN: &str = "restart-when";
/// The ability of an agent to give a replica the addresses of the apps that it uses.
pub const ABILITY_USES: &str = "uses";

/// The name of an app: a DNS label (RFC 1123 section 2.1), so that it can stand in a host name, a path
/// and a file name: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

/// A text that cannot be an app's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" cannot be the name of an app: use 1 to 63 of a-z, 0-9 and '-', with no '-' at either end")]
pub struct BadAppName(String);

impl AppName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The seed's app, which exists from the first start of a cluster: `worker`.
    #[must_use]
    pub fn builtin() -> Self {
        AppName("worker".to_owned())
    }
}

impl FromStr for AppName {
    type Err = BadAppName;
    fn from_str(text: &str) -> Result<Self, BadAppName> {
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits { Ok(AppName(text.to_owned())) } else { Err(BadAppName(text.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for AppName {
    type Error = BadAppName;
    fn try_from(text: String) -> Result<Self, BadAppName> {
        text.parse()
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> String {
        name.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How one replica of an app is run. An agent gets it with every assignment and keeps none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The program and its arguments. A name without a `/` is looked up by the agent: in its working
    /// directory, beside its own program, on PATH. It may hold placeholders: [`placeholder`].
    pub command: Vec<String>,
    /// What is fetched before a replica starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Environment variables beside those that every replica gets. Values may hold placeholders.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long a replica that is to stop may take to finish the requests that it has, in milliseconds.
    #[serde(default = "drain_ms_default")]
    pub drain_ms: u64,
    /// How long its processes get between SIGTERM and SIGKILL, in milliseconds.
    #[serde(default = "grace_ms_default")]
    pub grace_ms: u64,
    /// When a replica whose process ended is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Which checks decide that a replica gets requests, and that it is replaced. Without one for readiness it is ready once its port
    /// has accepted a connection; with a socket that is handed over, once its process has lived for a moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Check>,
    /// What a replica may use of its host.
    #[serde(default)]
    pub limits: Limits,
    /// A replica of which a limit cannot be enforced is not started.
    #[serde(default)]
    pub strict_limits: bool,
    /// How much of its output is kept.
    #[serde(default)]
    pub logs: LogSpec,
    /// As whom and where it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_as: RunAs,
    /// The files that it may use; all that its user may, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Who opens its socket.
    #[serde(default, skip_serializing_if = "is_default")]
    pub socket: SocketMode,
    /// The apps that it calls: it gets an address for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<AppName>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn drain_ms_default() -> u64 {
    10_000
}
fn grace_ms_default() -> u64 {
    10_000
}

impl AppSpec {
    /// A spec that runs `command` with the defaults of everything else.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        AppSpec {
            command,
            artifact: None,
            env: BTreeMap::new(),
            drain_ms: drain_ms_default(),
            grace_ms: grace_ms_default(),
            restart: RestartPolicy::default(),
            health: vec![],
            limits: Limits::default(),
            strict_limits: false,
            logs: LogSpec::default(),
            run_as: RunAs::default(),
            sandbox: None,
            socket: SocketMode::default(),
            uses: vec![],
        }
    }

    /// What an agent must be able to do to run this as it is meant, beyond what every agent does.
    #[must_use]
    pub fn requires(&self) -> Vec<&'static str> {
        let has_placeholders = self.command.iter().chain(self.env.values()).any(|text| placeholder::has_any(text));
        let wishes = [
            (!self.health.is_empty(), ABILITY_HEALTH),
            (self.restart.when != When::Always, ABILITY_RESTART_WHEN),
            (self.run_as != RunAs::default(), ABILITY_RUN_AS),
            (self.sandbox.is_some(), ABILITY_SANDBOX),
            (self.socket == SocketMode::Pass, ABILITY_SOCKET),
            (has_placeholders, ABILITY_PLACEHOLDERS),
            (self.artifact.is_some(), ABILITY_ARTIFACT),
            (!self.uses.is_empty(), ABILITY_USES),
        ];
        wishes.into_iter().filter(|(wished, _)| *wished).map(|(_, ability)| ability).collect()
    }
}

/// An app of the desired state. What is not in `spec` is no matter of a replica that runs: a change of it restarts nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Grows with every change of the spec; the count is not part of it.
    pub revision: u64,
    /// How a replica is run.
    pub spec: AppSpec,
    /// How many replicas there should be.
    pub desired: u32,
    /// How many its spec asked for when that was last read. [`App::desired`] is another number when it was scaled since.
    #[serde(default)]
    pub replicas: u32,
    /// It gets the requests that no route of any app claims.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Which requests belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteRule>,
    /// On which nodes it may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// How its requests reach its replicas.
    #[serde(default, skip_serializing_if = "is_default")]
    pub traffic: TrafficPolicy,
}

impl App {
    /// An app of revision 1 that runs `spec`, with the defaults of everything else.
    #[must_use]
    pub fn new(name: AppName, spec: AppSpec) -> Self {
        App {
            name,
            revision: 1,
            spec,
            desired: COUNT_DEFAULT,
            replicas: COUNT_DEFAULT,
            default: false,
            routes: vec![],
            placement: Placement::default(),
            traffic: TrafficPolicy::default(),
        }
    }

    /// The seed's app: the demo payload, with no replicas until somebody asks for them.
    #[must_use]
    pub fn builtin() -> Self {
        let app = App::new(AppName::builtin(), AppSpec::new(vec!["worker".to_owned()]));
        App { desired: 0, replicas: 0, ..app }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_name_is_a_dns_label() {
        for good in ["a", "worker", "web-1", &"x".repeat(63)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_app_of_an_older_store_can_be_read() {
        let old = r#"{"name":"worker","revision":3,"desired":4,"spec":{"command":["worker"],"drain_ms":1,"keepalive_idle_ms":4000}}"#;
        let spec = AppSpec { drain_ms: 1, ..App::builtin().spec };
        assert_eq!(serde_json::from_str::<App>(old).ok(), Some(App { revision: 3, desired: 4, spec, ..App::builtin() }));
    }

    #[test]
    fn a_spec_asks_for_the_abilities_that_it_needs() {
        assert!(App::builtin().spec.requires().is_empty());
        let command = AppSpec::new(vec!["x".to_owned(), "{port}".to_owned()]);
        assert_eq!(command.requires(), [ABILITY_PLACEHOLDERS]);
        let env =
            AppSpec { env: BTreeMap::from([("A".to_owned(), "{{x}}".to_owned())]), uses: vec![AppName::builtin()], ..App::builtin().spec };
        assert_eq!(env.requires(), [ABILITY_PLACEHOLDERS, ABILITY_USES]);
    }
}
