//! Which assignment an agent obeys: never an older one, never another cluster's.

use serde::{Deserialize, Serialize};

use crate::id::ClusterId;
use crate::wire::{Assignment, Stamp};

/// What an agent has: the assignment that it obeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The cluster that it listens to.
    pub cluster: Option<ClusterId>,
    /// The assignment that it applied last.
    pub stamp: Option<Stamp>,
}

/// What to do with an assignment that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is newer: obey it.
    Apply,
    /// It is the one that is obeyed already: only the lease is renewed.
    Renew,
}

/// Why an assignment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 409: an older one than what is obeyed.
    #[error("this assignment ({got}) is older than the one this agent obeys ({has})")]
    Older {
        /// What came.
        got: Stamp,
        /// What is obeyed.
        has: Stamp,
    },
    /// 409: another cluster's, while replicas of the first run.
    #[error(
        "this agent runs replicas of the cluster {has} and was called by the cluster {got}; add the node with \"take_over\": true to replace them"
    )]
    Foreign {
        /// Who called.
        got: ClusterId,
        /// Who is listened to.
        has: ClusterId,
    },
    /// 422: the agent lacks an ability that the assignment requires.
    #[error("this agent cannot do what the assignment requires: {0}; upgrade the agent")]
    Lacks(String),
    /// 422: a replica whose spec is not there.
    #[error("the assignment holds no spec {0}")]
    NoSpec(String),
}

/// Judges an assignment. `runs_anything`: the agent has replicas, of whatever phase; `abilities`: what it can do beyond the basics.
///
/// # Errors
/// A [`Refusal`]: nothing of the assignment may be obeyed.
pub fn judge(held: Held, runs_anything: bool, abilities: &[&str], incoming: &Assignment) -> Result<Verdict, Refusal> {
    if let Some(lacking) = incoming.requires.iter().find(|name| !abilities.contains(&name.as_str())) {
        return Err(Refusal::Lacks(lacking.clone()));
    }
    let missing = incoming.replicas.iter().map(crate::wire::AssignedReplica::spec_key).find(|key| !incoming.specs.contains_key(key));
    if let Some(key) = missing {
        return Err(Refusal::NoSpec(key));
    }
    match held.cluster {
        Some(has) if has != incoming.cluster => {
            // Epochs of two clusters cannot be compared: a foreign call counts only where it may replace the first.
            return if runs_anything && !incoming.take_over {
                Err(Refusal::Foreign { got: incoming.cluster, has })
            } else {
                Ok(Verdict::Apply)
            };
        }
        _ => {}
    }
    match held.stamp {
        Some(has) if incoming.stamp < has => Err(Refusal::Older { got: incoming.stamp, has }),
        Some(has) if incoming.stamp == has => Ok(Verdict::Renew),
        _ => Ok(Verdict::Apply),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn assignment(cluster: u128, epoch: u64, generation: u64, take_over: bool) -> Assignment {
        Assignment {
            cluster: ClusterId(cluster),
            stamp: Stamp { epoch, generation },
            requires: vec![],
            lease_ms: 3000,
            take_over,
            specs: BTreeMap::new(),
            replicas: vec![],
        }
    }

    proptest! {
        #[test]
        fn an_older_or_foreign_assignment_never_wins(calls in prop::collection::vec((0u128..3, 0u64..4, 0u64..4), 1..60)) {
            let mut held = Held::default();
            for (cluster, epoch, generation) in calls {
                let incoming = assignment(cluster, epoch, generation, false);
                let before = held;
                if judge(held, true, &[], &incoming).is_ok() {
                    held = Held { cluster: Some(incoming.cluster), stamp: Some(incoming.stamp) };
                    prop_assert!(before.cluster.is_none_or(|first| first == incoming.cluster));
                    prop_assert!(before.stamp.is_none_or(|stamp| stamp <= incoming.stamp));
                } else {
                    prop_assert_eq!(before, held);
                }
            }
        }
    }

    #[test]
    fn an_agent_that_runs_nothing_or_is_taken_over_listens_to_another_cluster() {
        let held = Held { cluster: Some(ClusterId(1)), stamp: Some(Stamp { epoch: 9, generation: 9 }) };
        assert!(matches!(judge(held, true, &[], &assignment(2, 1, 1, false)), Err(Refusal::Foreign { .. })));
        assert_eq!(judge(held, false, &[], &assignment(2, 1, 1, false)), Ok(Verdict::Apply));
        assert_eq!(judge(held, true, &[], &assignment(2, 1, 1, true)), Ok(Verdict::Apply));
    }

    #[test]
    fn an_agent_that_lacks_an_ability_refuses_the_whole() {
        let mut incoming = assignment(1, 1, 1, false);
        incoming.requires = vec!["sandbox".to_owned()];
        assert_eq!(judge(Held::default(), false, &[], &incoming), Err(Refusal::Lacks("sandbox".to_owned())));
        assert_eq!(judge(Held::default(), false, &["sandbox"], &incoming), Ok(Verdict::Apply));
    }
}
