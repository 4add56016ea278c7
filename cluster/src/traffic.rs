//! How the requests of an app reach its replicas: what an operator chooses.
//!
//! It travels in the routing table. Absent from here: the choosing itself (`balance`), and who is left out for a while (`outlier`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the requests of an app reach its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Which replica gets the next request.
    pub balance: Balance,
    /// How long a new replica takes to get its full share, in milliseconds; 0: it gets it at once.
    pub slow_start_ms: u64,
    /// The most replicas of an app that may be left out at once for what their answers are like, in percent of those in the table, rounded
    /// down; 0: nobody is left out.
    pub max_ejected_percent: u8,
    /// What its replicas speak.
    pub protocol: Protocol,
}

/// What the replicas of an app speak. As text: `http1`, `h2c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in the clear, from the first byte on (RFC 9113 section 3.3): so gRPC works.
    H2c,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { balance: Balance::default(), slow_start_ms: 0, max_ejected_percent: 50, protocol: Protocol::default() }
    }
}

/// Which replica gets the next request. As text: `round-robin`, `least-request`, `cookie:NAME`, `header:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Balance {
    /// Each in its turn, exactly.
    #[default]
    RoundRobin,
    /// Of two that are drawn, the one with fewer requests under way.
    LeastRequest,
    /// The same one for the same value of this cookie. Who has none is given one.
    Cookie(String),
    /// The same one for the same value of this field. What has none is spread in turns.
    Header(String),
}

/// A text that names no way of balancing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no way of balancing: use round-robin, least-request, cookie:NAME or header:NAME")]
pub struct BadBalance(String);

impl FromStr for Balance {
    type Err = BadBalance;
    fn from_str(text: &str) -> Result<Self, BadBalance> {
        let bad = || BadBalance(text.chars().take(64).collect());
        match text {
            "round-robin" => return Ok(Balance::RoundRobin),
            "least-request" => return Ok(Balance::LeastRequest),
            _ => {}
        }
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        if !is_token(name) {
            return Err(bad());
        }
        match kind {
            "cookie" => Ok(Balance::Cookie(name.to_owned())),
            "header" => Ok(Balance::Header(name.to_ascii_lowercase())),
            _ => Err(bad()),
        }
    }
}

/// The names of fields (RFC 9110 section 5.1) and of cookies (RFC 6265 section 4.1.1).
fn is_token(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl TryFrom<String> for Balance {
    type Error = BadBalance;
    fn try_from(text: String) -> Result<Self, BadBalance> {
        text.parse()
    }
}

impl From<Balance> for String {
    fn from(balance: Balance) -> String {
        balance.to_string()
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Balance::RoundRobin => f.write_str("round-robin"),
            Balance::LeastRequest => f.write_str("least-request"),
            Balance::Cookie(name) => write!(f, "cookie:{name}"),
            Balance::Header(name) => write!(f, "header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(serde_json::from_str::<Traffic>("{}").ok(), Some(Traffic::default()));
        let said = r#"{"balance":"cookie:a","protocol":"h2c"}"#;
        let expected = Traffic { balance: Balance::Cookie("a".to_owned()), protocol: Protocol::H2c, ..Traffic::default() };
        assert_eq!(serde_json::from_str::<Traffic>(said).ok(), Some(expected));
    }

    #[test]
    fn a_way_of_balancing_is_read_as_it_is_written() {
        for text in ["round-robin", "least-request", "cookie:Session", "header:x-user"] {
            assert_eq!(text.parse::<Balance>().map(|balance| balance.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("header:X-User".parse(), Ok(Balance::Header("x-user".to_owned())));
        for bad in ["", "random", "cookie", "cookie:", "cookie:a b", "cookie:a;b", "header:a:b", "Round-Robin", "header:\u{e4}"] {
            assert!(bad.parse::<Balance>().is_err(), "{bad}");
        }
    }
}
