//! `[placement]`.

use cluster::constraint::{CONSTRAINTS_MAX, Constraint, Placement};
use cluster::label;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::{Faults, at};

/// On which nodes replicas run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PlacementForm {
    /// Conditions on the labels of a node, all of which must hold: `KEY=VALUE`, `KEY!=VALUE` (another value, or no such label), `KEY` (there
    /// is such a label), `!KEY` (there is none).
    #[schemars(with = "Vec<String>", length(max = CONSTRAINTS_MAX), example = vec!["zone=a", "disk!=hdd"])]
    constraints: Vec<Constraint>,
    /// The key of a label: replicas are spread evenly over its values first, then over nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"zone")]
    spread: Option<String>,
    /// The most replicas on one node; any number without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1))]
    max_per_node: Option<u32>,
}

impl PlacementForm {
    pub(crate) fn placement(self, faults: &mut Faults) -> Placement {
        if self.constraints.len() > CONSTRAINTS_MAX {
            let what = format!("there are {} constraints; leave it at {CONSTRAINTS_MAX}", self.constraints.len());
            faults.add(at!["placement", "constraints"], what);
        }
        if self.spread.as_ref().is_some_and(|key| !label::is_key(key)) {
            let what = "this is no key of a label; use 1 to 63 letters, digits, '.', '_', '-' and '/', as in \"zone\"";
            faults.add(at!["placement", "spread"], what);
        }
        if self.max_per_node == Some(0) {
            faults.add(at!["placement", "max_per_node"], "0 is out of range; give 1 or more, or replicas = 0 for none at all");
        }
        Placement { constraints: self.constraints, spread: self.spread, max_per_node: self.max_per_node }
    }
}

impl From<&Placement> for PlacementForm {
    fn from(placement: &Placement) -> Self {
        let Placement { constraints, spread, max_per_node } = placement.clone();
        PlacementForm { constraints, spread, max_per_node }
    }
}
