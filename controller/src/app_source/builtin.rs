//! The app that stands in where no source is named: the seed's `worker`.

use cluster::App;
use cluster::origin::Origin;

use crate::store::{self, Change, Store};

/// The launch configuration of services, the seed's `loadConfigFromS3`, where no source is named. One app is built in, with no replicas
/// until somebody asks for them.
#[must_use]
pub fn load_config() -> Vec<App> {
    vec![App::builtin()]
}

/// Puts the built-in app into a store that has no apps. With a source it takes it out again, unless somebody has asked for replicas of it.
///
/// # Errors
/// What the store says.
pub async fn fill(store: &dyn Store, has_source: bool) -> Result<(), store::Error> {
    store::update(store, |desired| {
        let mut change = Change::default();
        if has_source {
            let is_unused = |app: &&App| app.origin == Origin::Builtin && app.desired == 0 && app.revision == 1 && !app.deleted;
            change.delete_apps = desired.apps.values().filter(is_unused).map(|app| app.name.clone()).collect();
        } else if desired.apps.is_empty() {
            change.put_apps = load_config();
        }
        Ok((change, ()))
    })
    .await
}
