//! One check of an app's spec: what is asked of a replica, how often, and what an answer decides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most checks of one app.
pub const CHECKS_MAX: usize = 8;
/// Less than this between two checks, or more, is a slip, in milliseconds.
pub const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;
/// How long an answer may take, at least and at most, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=600_000;
/// The longest initial grace, in milliseconds.
pub const GRACE_MS_MAX: u64 = 86_400_000;
/// The most passes or failures in a row that can be asked for.
pub const THRESHOLD_MAX: u32 = 1_000;
const TEXT_BYTES_MAX: usize = 2_048;

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    #[serde(flatten)]
    pub kind: Kind,
    /// What the answer decides.
    #[serde(rename = "for", default)]
    pub purpose: Purpose,
    /// From one check to the next, in milliseconds. A replica that has not passed yet is asked more often.
    #[serde(default = "interval_ms_default")]
    pub interval_ms: u64,
    /// An answer that takes longer is none, in milliseconds.
    #[serde(default = "timeout_ms_default")]
    pub timeout_ms: u64,
    /// So many passes in a row make it pass.
    #[serde(default = "healthy_default")]
    pub healthy: u32,
    /// So many failures in a row make it fail.
    #[serde(default = "unhealthy_default")]
    pub unhealthy: u32,
    /// Until its process is so old, failures before the first pass do not count, in milliseconds.
    #[serde(default = "initial_grace_ms_default")]
    pub initial_grace_ms: u64,
}

fn interval_ms_default() -> u64 {
    2_000
}
fn timeout_ms_default() -> u64 {
    1_000
}
fn healthy_default() -> u32 {
    1
}
fn unhealthy_default() -> u32 {
    3
}
fn initial_grace_ms_default() -> u64 {
    10_000
}

impl Check {
    /// A check with the defaults of everything else.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Check {
            kind,
            purpose: Purpose::default(),
            interval_ms: interval_ms_default(),
            timeout_ms: timeout_ms_default(),
            healthy: healthy_default(),
            unhealthy: unhealthy_default(),
            initial_grace_ms: initial_grace_ms_default(),
        }
    }
}

/// What is asked of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A GET over HTTP/1.1 on the replica's port. A redirect is an answer like any other, and is not followed: else a replica could
    /// point its agent at whatever the agent can reach (CVE-2022-29153).
    Http {
        /// Path and query.
        #[serde(default = "path_default")]
        path: String,
        /// Which status passes.
        #[serde(default)]
        status: StatusRange,
        /// The Host field; `localhost` and the port without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A connection to the replica's port.
    Tcp,
    /// A command, run like the replica itself. Exit code 0 passes.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// The replica speaks up itself.
    Push,
}

fn path_default() -> String {
    "/".to_owned()
}

impl Kind {
    /// An HTTP check, with the defaults of what is absent.
    #[must_use]
    pub fn http(path: Option<String>, status: Option<StatusRange>, host: Option<String>) -> Self {
        Kind::Http { path: path.unwrap_or_else(path_default), status: status.unwrap_or_default(), host }
    }

    /// What is wrong with it, and what would be right.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        // What stands in the head of a request must not end it (RFC 9112 section 11.1).
        let is_plain = |text: &str| text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        match self {
            Kind::Http { path, .. } if !path.starts_with('/') || !is_plain(path) => {
                Some("its path must begin with / and hold printable ASCII without spaces")
            }
            Kind::Http { host: Some(host), .. } if host.is_empty() || !is_plain(host) => {
                Some("its host must be printable ASCII without spaces")
            }
            Kind::Exec { command } if command.first().is_none_or(String::is_empty) => Some("its command is empty; give it a program"),
            Kind::Exec { command } if command.iter().any(|arg| arg.contains('\0')) => Some("its command holds a NUL byte; take it out"),
            _ => None,
        }
    }

    /// The word of the spec.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Http { .. } => "http",
            Kind::Tcp => "tcp",
            Kind::Exec { .. } => "exec",
            Kind::Push => "push",
        }
    }
}

/// What people call it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARS_MAX: usize = 60;
        let detail: String = match self {
            Kind::Http { path, .. } => path.chars().take(CHARS_MAX).collect(),
            Kind::Exec { command } => command.first().map(|program| program.chars().take(CHARS_MAX).collect()).unwrap_or_default(),
            Kind::Tcp | Kind::Push => return f.write_str(self.word()),
        };
        write!(f, "{} {detail}", self.word())
    }
}

/// What an answer decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Whether the replica gets requests.
    #[default]
    Readiness,
    /// Whether it is ended and started again.
    Liveness,
    /// Both.
    Both,
}

impl Purpose {
    /// It decides whether the replica gets requests.
    #[must_use]
    pub fn is_readiness(self) -> bool {
        self != Purpose::Liveness
    }

    /// It decides whether the replica is started again.
    #[must_use]
    pub fn is_liveness(self) -> bool {
        self != Purpose::Readiness
    }
}

/// Which HTTP statuses pass: `204`, or `"200-399"`, which is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StatusText", into = "StatusText")]
pub struct StatusRange {
    first: u16,
    last: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StatusText {
    One(u16),
    Range(String),
}

impl Default for StatusRange {
    fn default() -> Self {
        StatusRange { first: 200, last: 399 }
    }
}

impl StatusRange {
    /// Whether it passes.
    #[must_use]
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// A text or a number that is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the status of a check is a number such as 204 or a range such as \"200-399\"")]
pub struct BadStatus;

impl FromStr for StatusRange {
    type Err = BadStatus;
    fn from_str(text: &str) -> Result<Self, BadStatus> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse().ok(), last.parse().ok()) {
            (Some(first), Some(last)) if (100..=999).contains(&first) && (first..=999).contains(&last) => Ok(StatusRange { first, last }),
            _ => Err(BadStatus),
        }
    }
}

impl TryFrom<StatusText> for StatusRange {
    type Error = BadStatus;
    fn try_from(text: StatusText) -> Result<Self, BadStatus> {
        match text {
            StatusText::One(status) => status.to_string().parse(),
            StatusText::Range(text) => text.parse(),
        }
    }
}

impl From<StatusRange> for StatusText {
    fn from(range: StatusRange) -> StatusText {
        if range.first == range.last { StatusText::One(range.first) } else { StatusText::Range(range.to_string()) }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Why the checks of a spec cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChecks {
    /// Too many.
    #[error("the app has {0} health checks; leave it at {CHECKS_MAX}")]
    TooMany(usize),
    /// More than one of a kind that has no second.
    #[error("the app has more than one health check of kind push; a replica has one voice, so leave one")]
    TwoVoices,
    /// One of them.
    #[error("the app's health check {nth} ({kind}): {why}")]
    One {
        /// Which, from 1.
        nth: usize,
        /// What it asks.
        kind: String,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
}

/// Whether an agent can carry these out.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(checks: &[Check]) -> Result<(), BadChecks> {
    if checks.len() > CHECKS_MAX {
        return Err(BadChecks::TooMany(checks.len()));
    }
    if checks.iter().filter(|check| check.kind == Kind::Push).count() > 1 {
        return Err(BadChecks::TwoVoices);
    }
    match checks.iter().enumerate().find_map(|(at, check)| Some((at + 1, check, fault(check)?))) {
        Some((nth, check, why)) => Err(BadChecks::One { nth, kind: check.kind.to_string(), why }),
        None => Ok(()),
    }
}

fn fault(check: &Check) -> Option<&'static str> {
    let is_threshold = |count: u32| (1..=THRESHOLD_MAX).contains(&count);
    check
        .kind
        .fault()
        .or_else(|| (!INTERVAL_MS.contains(&check.interval_ms)).then_some("interval_ms must be from 100 to 86400000"))
        .or_else(|| (!TIMEOUT_MS.contains(&check.timeout_ms)).then_some("timeout_ms must be from 10 to 600000"))
        .or_else(|| (check.initial_grace_ms > GRACE_MS_MAX).then_some("initial_grace_ms must be at most 86400000"))
        .or_else(|| {
            let fits = is_threshold(check.healthy) && is_threshold(check.unhealthy);
            (!fits).then_some("healthy and unhealthy must be from 1 to 1000")
        })
}
