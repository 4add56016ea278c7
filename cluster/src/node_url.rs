//! The URL of an agent, read by hand: every general parser accepts more than is meant.
//!
//! RFC 3986: scheme, host and port, nothing else. One trailing `/` is dropped, the host is lower-cased, an IPv4 address is a
//! dotted quad only (`0x7f.1`, `127.1` and `2130706433` are refused, not translated).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `http://host:port`, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeUrl {
    host: String,
    port: u16,
}

/// Why a text is not the URL of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNodeUrl {
    /// Nothing, or far too much.
    #[error("the URL is empty or longer than 300 characters; expected http://HOST:PORT")]
    Length,
    /// No scheme, or another one.
    #[error("the URL must begin with http://, as in http://10.0.0.5:9091")]
    Scheme,
    /// TLS is not there yet.
    #[error("https is not supported yet; use http:// on loopback, or start agent and controller with --insecure")]
    Https,
    /// `user:password@`.
    #[error("the URL must not hold a user name or password; expected http://HOST:PORT")]
    Credentials,
    /// Something behind the port.
    #[error("the URL must end after the port, with no path, query or fragment; expected http://HOST:PORT")]
    Path,
    /// The host is none.
    #[error("\"{0}\" is not a host name, an IPv4 address as four decimal numbers, or an IPv6 address in brackets")]
    Host(String),
    /// No port.
    #[error("the URL names no port; expected http://HOST:PORT, as in http://{0}:9091")]
    NoPort(String),
    /// A port that is none.
    #[error("\"{0}\" is not a port: a decimal number from 1 to 65535")]
    Port(String),
}

impl NodeUrl {
    /// Host as it stands in the URL: an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, an IPv6 address in brackets: what a Host field holds.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether the host is this machine by its very name: `localhost`, `127.0.0.0/8` or `::1`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || self.host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn is_host_name(text: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label that looks like a number would be an address to some resolvers (WHATWG URL, section 3.5).
    let last_is_numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit()) || label.to_ascii_lowercase().starts_with("0x");
    text.len() <= 253 && text.split('.').all(label_fits) && !text.split('.').next_back().is_some_and(last_is_numeric)
}

fn parse_port(text: &str) -> Result<u16, BadNodeUrl> {
    let bad = || BadNodeUrl::Port(text.chars().take(20).collect());
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().ok().filter(|port| *port != 0).ok_or_else(bad)
}

impl FromStr for NodeUrl {
    type Err = BadNodeUrl;

    fn from_str(text: &str) -> Result<Self, BadNodeUrl> {
        if text.is_empty() || text.len() > 300 {
            return Err(BadNodeUrl::Length);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(BadNodeUrl::Scheme) };
        if scheme.eq_ignore_ascii_case("https") {
            return Err(BadNodeUrl::Https);
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(BadNodeUrl::Scheme);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(BadNodeUrl::Credentials);
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(BadNodeUrl::Path);
        }
        let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
            let bad = || BadNodeUrl::Host(authority.chars().take(64).collect());
            let (address, after) = inside.split_once(']').ok_or_else(bad)?;
            let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) };
            (address.to_string(), port)
        } else {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            if host.parse::<Ipv4Addr>().is_err() && !is_host_name(host) {
                return Err(BadNodeUrl::Host(host.chars().take(64).collect()));
            }
            (host.to_ascii_lowercase(), port)
        };
        let port = port.ok_or_else(|| BadNodeUrl::NoPort(host.clone()))?;
        Ok(NodeUrl { port: parse_port(port)?, host })
    }
}

impl TryFrom<String> for NodeUrl {
    type Error = BadNodeUrl;
    fn try_from(text: String) -> Result<Self, BadNodeUrl> {
        text.parse()
    }
}

impl From<NodeUrl> for String {
    fn from(url: NodeUrl) -> String {
        url.to_string()
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_has_one_spelling() {
        for (text, expected) in [
            ("http://localhost:9091", "http://localhost:9091"),
            ("http://localhost:9091/", "http://localhost:9091"),
            ("HTTP://LocalHost:9091", "http://localhost:9091"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://[::1]:9091", "http://[::1]:9091"),
            ("http://[0:0:0:0:0:0:0:1]:9091", "http://[::1]:9091"),
            ("http://web-1.example.com:9091", "http://web-1.example.com:9091"),
        ] {
            assert_eq!(text.parse::<NodeUrl>().map(|url| url.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn anything_but_scheme_host_and_port_is_refused() {
        for text in [
            "",
            "localhost:9091",
            "http://",
            "http:///",
            "http://:9091",
            "http://localhost",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:65536",
            "http://localhost:+80",
            "http://localhost:9091//",
            "http://localhost:9091/x",
            "http://localhost:9091?x",
            "http://localhost:9091#x",
            "http://user@localhost:9091",
            "http://user:pw@localhost:9091",
            "ftp://localhost:9091",
            "https://localhost:9091",
            "http://0x7f.1:9091",
            "http://127.1:9091",
            "http://2130706433:9091",
            "http://127.0.0.01:9091",
            "http://256.0.0.1:9091",
            "http://[::1:9091",
            "http://[::1]9091",
            "http://::1:9091",
            "http://a b:9091",
            "http://a..b:9091",
            " http://localhost:9091",
            "http://localhost:9091 ",
            "http://lo\ncal:9091",
            "http://host%2e:9091",
            "http://ä:9091",
        ] {
            assert!(text.parse::<NodeUrl>().is_err(), "{text:?}");
        }
    }
}
