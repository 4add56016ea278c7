//! `[[health]]`.

use cluster::health::{Check, GRACE_MS_MAX, INTERVAL_MS, Kind, Purpose, StatusRange, THRESHOLD_MAX, TIMEOUT_MS};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::words;
use crate::duration::Duration;
use crate::fault::{Faults, at};
use crate::written::{self, Numbers};

/// A check of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthForm {
    /// What is asked.
    kind: KindWord,
    /// What the answer decides.
    #[serde(rename = "for", default)]
    #[schemars(schema_with = "purpose_words")]
    purpose: Purpose,
    /// `http`: path and query that are asked for; "/" unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^/"), example = &"/healthz")]
    path: Option<String>,
    /// `http`: which status passes; "200-399" unless said. A redirect is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "status")]
    #[schemars(schema_with = "status_schema")]
    status: Option<StatusRange>,
    /// `http`: the Host field; localhost and the port unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"shop.example.com")]
    host: Option<String>,
    /// `exec`: program and arguments. It runs like a replica, with the same environment; exit code 0 passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", length(min = 1), example = vec!["./check", "--quick"])]
    command: Option<Vec<String>>,
    /// From one check to the next. A replica that has not passed yet is asked more often.
    #[serde(default = "interval")]
    interval: Duration,
    /// An answer that takes longer is none.
    #[serde(default = "timeout")]
    timeout: Duration,
    /// So many passes in a row make it pass.
    #[serde(default = "healthy")]
    #[schemars(range(min = 1, max = THRESHOLD_MAX))]
    healthy: u32,
    /// So many failures in a row make it fail.
    #[serde(default = "unhealthy")]
    #[schemars(range(min = 1, max = THRESHOLD_MAX))]
    unhealthy: u32,
    /// Until its process is so old, failures before the first pass do not count.
    #[serde(default = "initial_grace")]
    initial_grace: Duration,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum KindWord {
    /// a GET on the replica's port
    Http,
    /// a connection to the replica's port
    Tcp,
    /// a command beside the replica
    Exec,
    /// nothing: the replica speaks up itself (a URL of its own, or sd_notify)
    Push,
}

fn plain() -> Check {
    Check::new(Kind::Tcp)
}
fn interval() -> Duration {
    Duration::of_ms(plain().interval_ms)
}
fn timeout() -> Duration {
    Duration::of_ms(plain().timeout_ms)
}
fn healthy() -> u32 {
    plain().healthy
}
fn unhealthy() -> u32 {
    plain().unhealthy
}
fn initial_grace() -> Duration {
    Duration::of_ms(plain().initial_grace_ms)
}

fn purpose_words(_: &mut SchemaGenerator) -> Schema {
    words(&[("readiness", "whether the replica gets requests"), ("liveness", "whether it is ended and started again"), ("both", "both")])
}

fn status_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "pattern": "^[1-9][0-9]{2}(-[1-9][0-9]{2})?$", "minimum": 100, "maximum": 999, "examples": ["200-299"] })
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StatusRange>, D::Error> {
    written::from_text(deserializer, Numbers::Taken, "a status such as 204, or a range in quotes such as \"200-299\"").map(Some)
}

impl HealthForm {
    pub(crate) fn check(self, at: usize, faults: &mut Faults) -> Check {
        self.check_keys(at, faults);
        let kind = match self.kind {
            KindWord::Http => Kind::http(self.path, self.status, self.host),
            KindWord::Exec => Kind::Exec { command: self.command.unwrap_or_default() },
            KindWord::Tcp => Kind::Tcp,
            KindWord::Push => Kind::Push,
        };
        for (key, count) in [("healthy", self.healthy), ("unhealthy", self.unhealthy)] {
            if !(1..=THRESHOLD_MAX).contains(&count) {
                faults.add(at!["health", at, key], format!("{count} is out of range; give 1 to {THRESHOLD_MAX}"));
            }
        }
        let check = Check {
            kind,
            purpose: self.purpose,
            interval_ms: self.interval.within(INTERVAL_MS, at!["health", at, "interval"], faults),
            timeout_ms: self.timeout.within(TIMEOUT_MS, at!["health", at, "timeout"], faults),
            healthy: self.healthy,
            unhealthy: self.unhealthy,
            initial_grace_ms: self.initial_grace.within(0..=GRACE_MS_MAX, at!["health", at, "initial_grace"], faults),
        };
        if let Some(why) = check.kind.fault() {
            let key = match &check.kind {
                Kind::Exec { .. } => "command",
                Kind::Http { host, .. } if why.contains("host") && host.is_some() => "host",
                _ => "path",
            };
            faults.add(at!["health", at, key], why);
        }
        check
    }

    /// A key that does not belong to its kind would be passed over in silence.
    fn check_keys(&self, at: usize, faults: &mut Faults) {
        let (is_http, is_exec) = (self.kind == KindWord::Http, self.kind == KindWord::Exec);
        for (key, is_there, fits, kind) in [
            ("path", self.path.is_some(), is_http, "http"),
            ("status", self.status.is_some(), is_http, "http"),
            ("host", self.host.is_some(), is_http, "http"),
            ("command", self.command.is_some(), is_exec, "exec"),
        ] {
            if is_there && !fits {
                faults.add_of_key(
                    at!["health", at, key],
                    format!("\"{key}\" belongs to a check of kind \"{kind}\"; take it out, or change the kind"),
                );
            }
        }
    }
}

impl From<&Check> for HealthForm {
    fn from(check: &Check) -> Self {
        let (mut path, mut status, mut host, mut command) = (None, None, None, None);
        let kind = match &check.kind {
            Kind::Http { path: asked, status: passing, host: named } => {
                (path, status, host) = (Some(asked.clone()), Some(*passing), named.clone());
                KindWord::Http
            }
            Kind::Tcp => KindWord::Tcp,
            Kind::Exec { command: run } => {
                command = Some(run.clone());
                KindWord::Exec
            }
            Kind::Push => KindWord::Push,
        };
        HealthForm {
            kind,
            purpose: check.purpose,
            path,
            status,
            host,
            command,
            interval: Duration::of_ms(check.interval_ms),
            timeout: Duration::of_ms(check.timeout_ms),
            healthy: check.healthy,
            unhealthy: check.unhealthy,
            initial_grace: Duration::of_ms(check.initial_grace_ms),
        }
    }
}
