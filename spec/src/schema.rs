//! The JSON Schema of a spec, for editors.
//!
//! It takes in every spec that [`crate::parse`] does. It does not say all that `parse` does: what two keys have to do with one another,
//! and what a text must be in detail.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::form::AppForm;

/// The schema (JSON Schema, draft 2020-12), made of the form's types.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<AppForm>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes out how numbers are held in memory, and the line ends of doc comments.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("format").is_some_and(Value::is_string) {
                members.remove("format");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
