//! `[[route]]`.

use cluster::rule::{HostPattern, PathPrefix, RouteRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests that belong to the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteForm {
    /// To this host: a name, `*.` and a name (one more name in front of it), or an IP address. To any host without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = &"shop.example.com")]
    pub(crate) host: Option<HostPattern>,
    /// At or below this path, compared byte by byte at whole segments: `/api` takes in `/api/x`, and not `/apis`. No '/' at its end.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = "^/"))]
    pub(crate) path: PathPrefix,
    /// A replica gets the rest of the path only: `/x` for `/api/x`.
    #[serde(default)]
    pub(crate) strip_prefix: bool,
}

impl RouteForm {
    pub(crate) fn rule(self) -> RouteRule {
        RouteRule { host: self.host, path: self.path, strip_prefix: self.strip_prefix }
    }
}

impl From<&RouteRule> for RouteForm {
    fn from(rule: &RouteRule) -> Self {
        RouteForm { host: rule.host.clone(), path: rule.path.clone(), strip_prefix: rule.strip_prefix }
    }
}
