//! Where apps come from at a cluster's first start.

use cluster::App;

use crate::store::{self, Change, Store};

/// The launch configuration of services: the seed's `loadConfigFromS3`. One app is built in, with no replicas until somebody asks
/// for them.
#[must_use]
pub fn load_config() -> Vec<App> {
    vec![App::builtin()]
}

/// Puts the apps of the launch configuration into a store that has none.
///
/// # Errors
/// What the store says.
pub async fn fill(store: &dyn Store) -> Result<(), store::Error> {
    store::update(store, |desired| {
        let put_apps = if desired.apps.is_empty() { load_config() } else { vec![] };
        Ok((Change { put_apps, ..Change::default() }, ()))
    })
    .await
}
