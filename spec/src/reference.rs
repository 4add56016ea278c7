//! The reference of a spec, for people: made of the schema.

use serde_json::{Map, Value};

use crate::schema::schema;

const HEAD: &str = "\
# App spec: reference

<!-- Generated: `ostler schema --reference > docs/app-spec.md` renews it. -->

An app is described by a TOML file, or over the API by a JSON object with the same keys. Only `name` and `command` must be there. A key that is not in this
list is an error. A file has 256 KiB at most, in UTF-8.

- A **duration** is a whole number and its unit: `250ms`, `10s`, `5m`, `2h` or `1d`; a day at most.
- A **size** is a whole number and its unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (1,024 each), or `kB`, `MB`, `GB`, `TB` (1,000 each). `0` needs none.

`ostler validate FILE` checks one. [write-a-spec.md](write-a-spec.md) is the introduction, and [app.schema.json](app.schema.json) the JSON Schema for editors.
";

/// All keys of a spec, with what each takes, its default, and what it is: a page of Markdown.
#[must_use]
pub fn reference() -> String {
    let schema = schema();
    let mut page = HEAD.to_owned();
    let (tables, plain): (Vec<_>, Vec<_>) = properties(&schema).into_iter().partition(|property| table(property.schema).is_some());
    section(&mut page, "The app", "", &plain);
    for property in &tables {
        if let Some((inner, is_list)) = table(property.schema) {
            let title = if is_list { format!("`[[{}]]`", property.name) } else { format!("`[{}]`", property.name) };
            section(&mut page, &title, text(property.schema, "description"), &properties(inner));
        }
    }
    page
}

struct Property<'a> {
    name: &'a str,
    schema: &'a Value,
    is_required: bool,
}

fn properties(schema: &Value) -> Vec<Property<'_>> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let all = schema["properties"].as_object().into_iter().flatten();
    let mut all: Vec<_> = all.map(|(name, schema)| Property { name, schema, is_required: required.contains(&name.as_str()) }).collect();
    // What must be there first; the rest in the order of the alphabet, as it comes.
    all.sort_by_key(|property| !property.is_required);
    all
}

/// The schema of a table's keys, and whether there may be many of that table.
fn table(schema: &Value) -> Option<(&Value, bool)> {
    if schema["properties"].is_object() {
        return Some((schema, false));
    }
    schema["items"]["properties"].is_object().then(|| (&schema["items"], true))
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

fn section(page: &mut String, title: &str, what: &str, properties: &[Property<'_>]) {
    page.push_str(&format!("\n## {title}\n\n"));
    if !what.is_empty() {
        page.push_str(&format!("{what}\n\n"));
    }
    page.push_str("| key | takes | default | what it is |\n|---|---|---|---|\n");
    for property in properties {
        let schema = property.schema;
        let default = match (property.is_required, schema.get("default")) {
            (true, _) => "must be there".to_owned(),
            (false, Some(value)) => format!("`{}`", toml(value)),
            (false, None) => "absent".to_owned(),
        };
        let meanings: Vec<String> = choices(schema).map(|one| format!("`{}`: {}", text(one, "const"), text(one, "description"))).collect();
        let meanings = if meanings.is_empty() { String::new() } else { format!(" {}.", meanings.join("; ")) };
        let cells = [format!("`{}`", property.name), takes(schema), default, format!("{}{meanings}", text(schema, "description"))];
        page.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["oneOf"].as_array().into_iter().flatten()
}

fn takes(schema: &Value) -> String {
    let words: Vec<String> = choices(schema).map(|one| format!("`{}`", one["const"])).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let example = schema["examples"].get(0).map(|example| format!("as in `{}`", toml(example)));
    let kind = match schema["type"].as_str() {
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => format!("whole number{}", range(schema)),
        Some("number") => "number".to_owned(),
        Some("array") => "list of texts".to_owned(),
        Some("object") => "table of texts".to_owned(),
        Some("string") => schema["title"].as_str().unwrap_or("text").to_owned(),
        _ => "text or number".to_owned(),
    };
    example.map_or(kind.clone(), |example| format!("{kind}, {example}"))
}

fn range(schema: &Value) -> String {
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => String::new(),
        (least, Value::Null) => format!(" from {least}"),
        (Value::Null, most) => format!(" up to {most}"),
        (least, most) => format!(" from {least} to {most}"),
    }
}

/// A value as it stands in a spec.
fn toml(value: &Value) -> String {
    let table = |members: &Map<String, Value>| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
        format!("{{ {} }}", members.join(", "))
    };
    match value {
        Value::Object(members) => table(members),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
