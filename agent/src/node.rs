//! What the agent says of itself and its host.

use std::collections::BTreeMap;

use cluster::InstanceId;
use cluster::label::LABELS_MAX;
use cluster::wire::{AGENT_SERVICE, NodeFacts};

use crate::os;

/// The longest name of a node.
const NAME_CHARS_MAX: usize = 200;

/// What cannot be said of a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be one.
    #[error("\"{0}\" cannot be the name of a node: use 1 to {NAME_CHARS_MAX} printable characters with no space at either end (--name)")]
    Name(String),
    /// Too many labels.
    #[error("{0} labels are given, and a node may have {LABELS_MAX}: leave some out (--label)")]
    Labels(usize),
}

/// The facts of this start of the agent, which listens on `port`.
pub fn facts(name: Option<&str>, labels: &BTreeMap<String, String>, port: u16, keep_workers: bool) -> Result<NodeFacts, Error> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("{}:{port}", os::hostname()),
    };
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::Name(name.chars().filter(|c| !c.is_control()).take(64).collect()));
    }
    if labels.len() > LABELS_MAX {
        return Err(Error::Labels(labels.len()));
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
        labels: labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_name_is_host_and_port_unless_it_is_given() {
        assert!(facts(None, &BTreeMap::new(), 9091, false).unwrap().name.ends_with(":9091"));
        assert_eq!(facts(Some("web-1"), &BTreeMap::new(), 9091, false).unwrap().name, "web-1");
        for bad in ["", " a", "a\n", "a\0b", &"x".repeat(201)] {
            assert!(facts(Some(bad), &BTreeMap::new(), 1, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_few() {
        let labels = |count: usize| (0..count).map(|number| (format!("k{number}"), "v".to_owned())).collect();
        assert_eq!(facts(None, &labels(LABELS_MAX), 1, false).unwrap().labels.len(), LABELS_MAX);
        assert!(facts(None, &labels(LABELS_MAX + 1), 1, false).is_err());
    }

    #[test]
    fn each_start_is_another_instance() {
        let instance = || facts(None, &BTreeMap::new(), 1, false).unwrap().instance;
        assert_ne!(instance(), instance());
    }
}
