//! `[restart]`.

use cluster::restart::{RestartPolicy, When};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::words;
use crate::duration::Duration;
use crate::fault::{Faults, at};

/// When a process that ended is started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RestartForm {
    /// After which ends.
    #[schemars(schema_with = "when_words")]
    when: When,
    /// The wait before the second restart in a row; the first is at once.
    first: Duration,
    /// The longest wait.
    max: Duration,
    /// A replica that was ready for so long starts again from no wait at all.
    reset_after: Duration,
}

fn when_words(_: &mut SchemaGenerator) -> Schema {
    words(&[("always", "after any"), ("on-failure", "unless it exited with code 0"), ("never", "after none: it runs once")])
}

impl RestartForm {
    pub(crate) fn policy(self, faults: &mut Faults) -> RestartPolicy {
        if self.first > self.max {
            let what = format!("\"{}\" is longer than restart.max, which is \"{}\"", self.first, self.max);
            faults.add(at!["restart", "first"], what);
        }
        RestartPolicy {
            when: self.when,
            first_ms: self.first.up_to_a_day(at!["restart", "first"], faults),
            max_ms: self.max.up_to_a_day(at!["restart", "max"], faults),
            reset_after_ms: self.reset_after.up_to_a_day(at!["restart", "reset_after"], faults),
        }
    }
}

impl From<&RestartPolicy> for RestartForm {
    fn from(policy: &RestartPolicy) -> Self {
        RestartForm {
            when: policy.when,
            first: Duration::of_ms(policy.first_ms),
            max: Duration::of_ms(policy.max_ms),
            reset_after: Duration::of_ms(policy.reset_after_ms),
        }
    }
}

impl Default for RestartForm {
    fn default() -> Self {
        RestartForm::from(&RestartPolicy::default())
    }
}
