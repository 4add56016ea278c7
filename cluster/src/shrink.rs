//! Which replicas go when fewer are wanted: so that what stays is spread as new ones would be.
//!
//! From the value of the spread label with the most of them first, then from the node with the most; there the unready first, then the
//! newest. Absent from here: letting them go (`plan`).

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, ReplicaId};

/// A replica that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// It gets no requests.
    pub is_unready: bool,
    /// Which one.
    pub id: ReplicaId,
    /// Where it is.
    pub node: NodeId,
}

/// The replicas of nodes with one value.
#[derive(Default)]
struct Group {
    count: usize,
    /// (how many are there, the first of them to go, node).
    nodes: BTreeSet<(usize, Standing, NodeId)>,
}

/// The first `count` to go. `value`: of the spread label, for a node.
#[must_use]
pub fn first_to_go<'a>(
    replicas: impl Iterator<Item = Standing>,
    value: impl Fn(NodeId) -> Option<&'a str>,
    count: usize,
) -> Vec<ReplicaId> {
    // For each node its replicas, the first to go last.
    let mut on_node: BTreeMap<NodeId, Vec<Standing>> = BTreeMap::new();
    for replica in replicas {
        on_node.entry(replica.node).or_default().push(replica);
    }
    let mut groups: BTreeMap<Option<&str>, Group> = BTreeMap::new();
    for (node, replicas) in &mut on_node {
        replicas.sort_unstable();
        let group = groups.entry(value(*node)).or_default();
        group.count += replicas.len();
        group.nodes.extend(replicas.last().map(|last| (replicas.len(), *last, *node)));
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    let key = |group: &Group, nth: usize| group.nodes.last().map(|best| (group.count, *best, nth));
    let mut order: BTreeSet<_> = groups.iter().enumerate().filter_map(|(nth, group)| key(group, nth)).collect();
    let mut going = Vec::new();
    while going.len() < count
        && let Some((_, best, nth)) = order.pop_last()
        && let Some(group) = groups.get_mut(nth)
    {
        let (_, victim, node) = best;
        going.push(victim.id);
        group.nodes.remove(&best);
        group.count -= 1;
        let left = on_node.entry(node).or_default();
        left.pop();
        group.nodes.extend(left.last().map(|last| (left.len(), *last, node)));
        order.extend(key(group, nth));
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(id: u128, node: u128, is_unready: bool) -> Standing {
        Standing { is_unready, id: ReplicaId(id), node: NodeId(node) }
    }

    fn go(replicas: &[Standing], values: &[(u128, &'static str)], count: usize) -> Vec<u128> {
        let value = |node: NodeId| values.iter().find(|(known, _)| *known == node.0).map(|(_, value)| *value);
        first_to_go(replicas.iter().copied(), value, count).iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_fullest_node_gives_first_then_the_unready_then_the_newest() {
        let replicas = [standing(1, 1, false), standing(2, 1, true), standing(3, 1, false), standing(4, 2, false), standing(5, 2, false)];
        assert_eq!(go(&replicas, &[], 4), [2, 5, 3, 4]);
        assert_eq!(go(&replicas, &[], 9).len(), 5);
        assert!(go(&replicas, &[], 0).is_empty());
    }

    #[test]
    fn the_fullest_value_gives_before_the_fullest_node() {
        // Zone a: nodes 1 and 2 with one each, and 3 with one; zone b: node 4 with two.
        let replicas = [standing(1, 1, false), standing(2, 2, false), standing(3, 3, false), standing(4, 4, false), standing(5, 4, false)];
        let zones = [(1, "a"), (2, "a"), (3, "a"), (4, "b")];
        assert_eq!(go(&replicas, &zones, 3), [3, 5, 2]);
    }
}
