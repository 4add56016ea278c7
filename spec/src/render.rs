//! From an app back to its spec.

use cluster::App;

use crate::form::AppForm;

/// The spec of an app, in TOML: what [`crate::parse`] reads as this app. Tables that are as they are by default are left out.
#[must_use]
pub fn render(app: &App) -> String {
    // The form is texts, numbers, lists and tables with text keys: each of them can be written.
    toml::to_string_pretty(&AppForm::from(app)).unwrap_or_default()
}

/// The spec of an app as a JSON object.
#[must_use]
pub fn render_json(app: &App) -> serde_json::Value {
    serde_json::to_value(AppForm::from(app)).unwrap_or_default()
}
