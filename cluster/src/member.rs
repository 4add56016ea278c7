//! A member of the cluster.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::node_url::NodeUrl;

/// A member of the cluster, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Minted at add-node.
    pub id: NodeId,
    /// Where its agent is.
    pub url: NodeUrl,
    /// It was added with `"take_over": true`: its agent may be told to leave the cluster that it listens to, once.
    #[serde(default)]
    pub take_over: bool,
    /// It was removed: a tombstone, until it has acknowledged an empty assignment.
    #[serde(default)]
    pub removed: bool,
    /// What an operator says of its host; these win over what its agent says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Member {
    /// A member that was just added.
    #[must_use]
    pub fn new(id: NodeId, url: NodeUrl) -> Self {
        Member { id, url, take_over: false, removed: false, labels: BTreeMap::new() }
    }
}
