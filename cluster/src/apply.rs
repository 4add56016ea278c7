//! What comes of a spec that is applied, and of an app that is deleted.
//!
//! A revision is a way of running a replica: it grows when that changes, and replicas of the one before are replaced. A change of
//! anything else (count, routes, placement, how requests are spread) restarts nothing.

use std::collections::BTreeMap;

use crate::app::{App, AppName, AppSpec, REVISIONS_KEPT};
use crate::now::Now;
use crate::origin::Origin;
use crate::rule;

/// Which rule gave an app its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRule {
    /// Its spec.
    Spec,
    /// Somebody scaled it since its spec's count was last changed.
    Scale,
}

impl CountRule {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CountRule::Spec => "spec",
            CountRule::Scale => "scale",
        }
    }
}

impl App {
    /// Which rule gave it the count that is in force.
    #[must_use]
    pub fn count_rule(&self) -> CountRule {
        if self.desired == self.replicas { CountRule::Spec } else { CountRule::Scale }
    }

    /// Whether this is what `other` asks for, by the specs of both: whoever applied them, and whatever was scaled since.
    #[must_use]
    pub fn asks_the_same_as(&self, other: &App) -> bool {
        let part = |app: &App| (app.name.clone(), app.replicas, app.default);
        part(self) == part(other)
            && self.spec == other.spec
            && self.routes == other.routes
            && self.placement == other.placement
            && self.traffic == other.traffic
    }
}

/// The app that `before` becomes when the spec `wanted` is applied to it. The count that was set by `/scale` stays, unless the spec
/// asks for another number than it did; an app that was on its way out is wanted again, as its spec says.
#[must_use]
pub fn applied(before: Option<&App>, wanted: App, origin: Origin, now: Now) -> App {
    let Some(before) = before else {
        return App { desired: wanted.replicas, revision: 1, earlier: BTreeMap::new(), origin, changed_unix_ms: now.unix_ms, ..wanted };
    };
    if !before.deleted && before.asks_the_same_as(&wanted) {
        return App { origin, ..before.clone() };
    }
    let keeps_count = !before.deleted && before.replicas == wanted.replicas;
    let (revision, earlier) = next_revision(before, &wanted.spec);
    App {
        revision,
        earlier,
        desired: if keeps_count { before.desired } else { wanted.replicas },
        origin,
        changed_unix_ms: now.unix_ms,
        deleted: false,
        ..wanted
    }
}

fn next_revision(before: &App, spec: &AppSpec) -> (u64, BTreeMap<u64, AppSpec>) {
    let mut earlier = before.earlier.clone();
    if *spec == before.spec {
        return (before.revision, earlier);
    }
    earlier.insert(before.revision, before.spec.clone());
    while earlier.len() >= REVISIONS_KEPT {
        earlier.pop_first();
    }
    (before.revision.saturating_add(1), earlier)
}

/// The app on its way out: its replicas drain and stop, it claims no requests, and its name stays taken until no node has anything of it.
#[must_use]
pub fn deleted(app: &App, now: Now) -> App {
    App { deleted: true, desired: 0, default: false, routes: vec![], changed_unix_ms: now.unix_ms, ..app.clone() }
}

/// Why these apps cannot all be as they are: a sentence that names the apps that are in each other's way.
///
/// # Errors
/// The first such sentence.
pub fn fit(apps: &BTreeMap<AppName, App>) -> Result<(), String> {
    rule::conflicts(apps.values()).into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
