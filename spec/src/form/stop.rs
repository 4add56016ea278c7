//! `[stop]`.

use cluster::AppSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// How a replica is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StopForm {
    /// How long it may take to finish the requests that it has.
    pub(crate) drain: Duration,
    /// How long its processes get between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
}

impl From<&AppSpec> for StopForm {
    fn from(spec: &AppSpec) -> Self {
        StopForm { drain: Duration::of_ms(spec.drain_ms), grace: Duration::of_ms(spec.grace_ms) }
    }
}

impl Default for StopForm {
    fn default() -> Self {
        StopForm::from(&AppSpec::new(vec![]))
    }
}
