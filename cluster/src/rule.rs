//! Which requests belong to an app: by host and path. And where two apps claim the same.
//!
//! A path is compared byte by byte, at whole segments: `/api` claims `/api` and `/api/x`, and neither `/apis` nor `/API`. Hosts are compared without
//! regard to case and port. Absent from here: looking a request up (`route`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::app::{App, AppName};

/// The most routes of one app.
pub const ROUTES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 1_024;
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// One rule: requests to this host, at or below this path, belong to the app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteRule {
    /// To which host; to any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    /// At or below which path.
    #[serde(default)]
    pub path: PathPrefix,
    /// The replica gets the rest of the path only: `/x` for `/api/x`, `/` for `/api`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip_prefix: bool,
}

/// What people call it: `shop.example.com/api`, `*/` for all.
impl fmt::Display for RouteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}{}", self.path),
            None => write!(f, "*{}", self.path),
        }
    }
}

/// Which hosts: one (`shop.example.com`), or all with one name more in front (`*.example.com`: `a.example.com`, and neither `example.com`
/// nor `a.b.example.com`, as for certificates, RFC 6125 section 6.4.3). In lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Any name in front of this: what follows the `*.`.
    Wildcard(String),
}

/// A text that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no host of a route: use a name such as shop.example.com, *.example.com for all names in front of it, or an IP address; without scheme, port and path"
)]
pub struct BadHost(String);

impl HostPattern {
    /// Whether it takes in this host: in lower case, without a port.
    #[must_use]
    pub fn takes(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(own) => own == host,
            HostPattern::Wildcard(suffix) => host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == suffix),
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<Self, BadHost> {
        let bad = || BadHost(text.chars().take(80).collect());
        let lower = text.to_ascii_lowercase();
        if let Some(address) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
            return Ok(HostPattern::Exact(format!("[{address}]")));
        }
        match lower.strip_prefix("*.") {
            Some(suffix) if is_name(suffix) => Ok(HostPattern::Wildcard(suffix.to_owned())),
            None if is_name(&lower) => Ok(HostPattern::Exact(lower)),
            _ => Err(bad()),
        }
    }
}

/// RFC 1123 section 2.1, and `_`, which people use.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

impl TryFrom<String> for HostPattern {
    type Error = BadHost;
    fn try_from(text: String) -> Result<Self, BadHost> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> String {
        host.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// A path with all that is below it: `/`, or segments without a `/` at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

/// A text that is no path of a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{path}\" is no path of a route: {why}")]
pub struct BadPath {
    path: String,
    why: &'static str,
}

impl Default for PathPrefix {
    fn default() -> Self {
        PathPrefix("/".to_owned())
    }
}

impl PathPrefix {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is left of a path at or below this one; begins with `/`. `None`: it is elsewhere.
    #[must_use]
    pub fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.0 == "/" {
            return path.starts_with('/').then_some(path);
        }
        match path.strip_prefix(&self.0)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }
}

impl FromStr for PathPrefix {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let fault = |why| Err(BadPath { path: text.chars().take(80).collect(), why });
        if !text.starts_with('/') {
            return fault("it must begin with /");
        }
        if text.len() > PATH_BYTES_MAX {
            return fault("it is longer than 1024 bytes");
        }
        if text.contains(['?', '#', '*']) {
            return fault("it takes no ?, # or *; all that is below a path belongs to it anyway");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return fault("it may hold printable ASCII without spaces and \\; write others as %XX, as clients do");
        }
        if text.len() > 1 && text.ends_with('/') {
            return fault("leave out the / at its end; all that is below it belongs to it anyway");
        }
        if text.contains("//") {
            return fault("it holds // ");
        }
        if text.split('/').any(|segment| matches!(decoded_dots(segment).as_str(), "." | "..")) {
            return fault("it must not hold . or .. as a segment");
        }
        if !text.split('%').skip(1).all(|rest| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))) {
            return fault("a % must be followed by two hexadecimal digits");
        }
        Ok(PathPrefix(text.to_owned()))
    }
}

fn decoded_dots(segment: &str) -> String {
    segment.replace("%2e", ".").replace("%2E", ".")
}

impl TryFrom<String> for PathPrefix {
    type Error = BadPath;
    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<PathPrefix> for String {
    fn from(path: PathPrefix) -> String {
        path.0
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where two of these apps claim the same requests: a sentence for each, which names both.
#[must_use]
pub fn conflicts<'a>(apps: impl IntoIterator<Item = &'a App>) -> Vec<String> {
    let mut apps: Vec<&App> = apps.into_iter().collect();
    apps.sort_by(|one, other| one.name.cmp(&other.name));
    let mut found = Vec::new();
    let mut claimed: BTreeMap<(&Option<HostPattern>, &PathPrefix), &AppName> = BTreeMap::new();
    for app in &apps {
        for rule in &app.routes {
            match claimed.get(&(&rule.host, &rule.path)) {
                Some(first) if **first == app.name => found.push(format!("{} has the route {rule} twice; leave one", app.name)),
                Some(first) => {
                    found.push(format!("the apps {first} and {} both have the route {rule}; take it from one of them", app.name))
                }
                None => {
                    claimed.insert((&rule.host, &rule.path), &app.name);
                }
            }
        }
    }
    let defaults: Vec<&AppName> = apps.iter().filter(|app| app.default).map(|app| &app.name).collect();
    if let [first, others @ ..] = defaults.as_slice() {
        for other in others {
            found.push(format!("the apps {first} and {other} both say default = true; leave it with one of them"));
        }
        if let Some(owner) = claimed.get(&(&None, &PathPrefix::default())) {
            found.push(format!("{first} says default = true, and the route */ of {owner} leaves nothing for it; take one of the two away"));
        }
    }
    found
}

#[cfg(test)]
mod tests;
