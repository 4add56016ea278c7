//! Identities: 128-bit UUIDs, typed by what they name.
//!
//! The core never makes one: an [`IdSource`] comes in as an argument, so that a run replays.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an id: expected a UUID such as 0199b1c2-7d3e-7abc-8def-0123456789ab")]
pub struct BadId(pub String);

fn format(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hex = format!("{value:032x}");
    write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn parse(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value: u128 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            (_, b'A'..=b'F') => byte - b'A' + 10,
            _ => return None,
        };
        value = (value << 4) | u128::from(digit);
    }
    Some(value)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                parse(text).map($name).ok_or_else(|| BadId(text.chars().take(64).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// One slot of an app on one node: the seed's "Worker ID". A restart in place keeps it. UUID v7:
    /// a later id sorts behind an earlier one.
    ReplicaId
}
id! {
    /// A member of the cluster, minted when it was added. The node's URL and name are attributes.
    NodeId
}
id! {
    /// The cluster: the first thing that a new store writes down.
    ClusterId
}
id! {
    /// One run of an agent process: new at each of its starts.
    InstanceId
}

/// Where new ids come from. The programs draw UUID v7; a simulation counts.
pub trait IdSource {
    /// The 128 bits of an id that was never given before, greater than all that were.
    fn next_id(&mut self) -> u128;
}

/// Ids that count up from 1: for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct Counting(pub u128);

impl IdSource for Counting {
    fn next_id(&mut self) -> u128 {
        self.0 += 1;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for value in [0, 1, u128::MAX, 0x0199_b1c2_7d3e_7abc_8def_0123_4567_89ab] {
            let id = ReplicaId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "../../etc/passwd",
            "0199b1c27d3e7abc8def0123456789ab",
            "0199b1c2-7d3e-7abc-8def-0123456789a/",
            "0199b1c2+7d3e-7abc-8def-0123456789ab",
        ] {
            assert!(text.parse::<ReplicaId>().is_err(), "{text}");
        }
    }
}
