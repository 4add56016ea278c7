//! A member of the cluster.

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
}
