//! What the agent says of itself and its host.

use std::collections::BTreeMap;

use cluster::InstanceId;
use cluster::wire::{AGENT_SERVICE, NodeFacts};

use crate::os;

/// The longest name of a node.
const NAME_CHARS_MAX: usize = 200;

/// A name that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" cannot be the name of a node: use 1 to {NAME_CHARS_MAX} printable characters with no space at either end (--name)")]
pub struct BadName(String);

/// The facts of this start of the agent, which listens on `port`.
pub fn facts(name: Option<&str>, port: u16, keep_workers: bool) -> Result<NodeFacts, BadName> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("{}:{port}", os::hostname()),
    };
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.trim() != name || name.chars().any(char::is_control) {
        return Err(BadName(name.chars().filter(|c| !c.is_control()).take(64).collect()));
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(NodeFacts {
        service: AGENT_SERVICE.to_owned(),
        name,
        instance: InstanceId(uuid::Uuid::now_v7().as_u128()),
        cluster: None,
        keep_workers,
        os: std::env::consts::OS.to_owned(),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: os::memory_bytes(),
        labels: BTreeMap::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_name_is_host_and_port_unless_it_is_given() {
        assert!(facts(None, 9091, false).unwrap().name.ends_with(":9091"));
        assert_eq!(facts(Some("web-1"), 9091, true).unwrap().name, "web-1");
        for bad in ["", " a", "a\n", "a\0b", &"x".repeat(201)] {
            assert!(facts(Some(bad), 1, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_start_is_another_instance() {
        assert_ne!(facts(None, 1, false).unwrap().instance, facts(None, 1, false).unwrap().instance);
    }
}
