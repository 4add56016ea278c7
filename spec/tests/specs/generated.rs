//! What is generated from the form: the schema and the reference.

use std::path::Path;

use cluster::{App, AppSpec};
use serde_json::Value;
use spec::{Format, parse};

use crate::with;

#[track_caller]
fn assert_current(file: &str, expected: &str, command: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/{file} is out of date: `{command} > docs/{file}` renews it");
}

#[test]
fn the_schema_in_the_docs_is_that_of_the_form() {
    assert_current("app.schema.json", &format!("{:#}\n", spec::schema()), "cargo run -- schema");
}

#[test]
fn the_reference_in_the_docs_is_that_of_the_form() {
    assert_current("app-spec.md", &spec::reference(), "cargo run -- schema --reference");
}

#[test]
fn what_a_spec_does_not_say_is_as_the_domain_has_it() {
    let app = parse(with("").as_bytes(), "x", Format::Toml).unwrap();
    assert_eq!(app, App::new("shop".parse().unwrap(), AppSpec::new(vec!["./shop".to_owned()])));
    // Nor does it matter that a table is there and says nothing.
    let empty = with("[env]\n[restart]\n[limits]\n[placement]\n[stop]\n[gateway]\n[logs]\n[run_as]");
    assert_eq!(parse(empty.as_bytes(), "x", Format::Toml).unwrap(), app);
}

/// Visits each key of the schema that is no table: its table, its name, and what is said of it.
fn keys(schema: &Value, table: &str, visit: &mut impl FnMut(&str, &str, &Value)) {
    for (name, inner) in schema["properties"].as_object().unwrap() {
        let list = &inner["items"];
        if inner["properties"].is_object() {
            keys(inner, &format!("[{name}]"), visit);
        } else if list["properties"].is_object() {
            keys(list, &format!("[[{name}]]"), visit);
        } else {
            visit(table, name, inner);
        }
    }
}

/// A spec in which one key has this value.
fn holding(table: &str, name: &str, value: &Value) -> String {
    let more = match (table, name) {
        ("[[health]]", "kind") => String::new(),
        ("[[health]]", "path" | "status" | "host") => "kind = \"http\"\n".to_owned(),
        ("[[health]]", "command") => "kind = \"exec\"\n".to_owned(),
        ("[[health]]", _) => "kind = \"tcp\"\n".to_owned(),
        ("[artifact]", "sha256") => "url = \"https://a.example/x\"\n".to_owned(),
        ("[artifact]", _) => format!("sha256 = \"{}\"\n", "0".repeat(64)),
        _ => String::new(),
    };
    let value = match value {
        Value::Object(members) => {
            format!("{{ {} }}", members.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    };
    let key = format!("{table}\n{more}{name} = {value}\n");
    match name {
        "name" if table.is_empty() => format!("command = [\"x\"]\n{key}"),
        "command" if table.is_empty() => format!("name = \"shop\"\n{key}"),
        _ => with(&key),
    }
}

#[test]
fn what_the_schema_says_is_taken() {
    let mut count = 0;
    keys(&spec::schema(), "", &mut |table, name, schema| {
        assert!(schema["description"].as_str().is_some_and(|text| text.len() > 3), "{table} {name} is not explained");
        let mut values: Vec<Value> = schema["examples"].as_array().cloned().unwrap_or_default();
        values.extend(["default", "minimum", "maximum"].iter().filter_map(|key| schema.get(key).cloned()));
        values.extend(schema["oneOf"].as_array().into_iter().flatten().map(|one| one["const"].clone()));
        // A command must come with each kind of check that has one.
        values.retain(|value| value != "exec");
        for value in values {
            let text = holding(table, name, &value);
            if let Err(error) = parse(text.as_bytes(), "x", Format::Toml) {
                panic!("{text}{error}");
            }
            count += 1;
        }
    });
    assert!(count > 60, "{count}");
}

#[test]
fn a_default_of_the_schema_is_what_an_absent_key_means() {
    keys(&spec::schema(), "", &mut |table, name, schema| {
        let Some(default) = schema.get("default") else { return };
        let absent = holding(table, name, default).replace(&format!("\n{name} = {default}\n"), "\n");
        let said = parse(holding(table, name, default).as_bytes(), "x", Format::Toml).unwrap();
        assert_eq!(parse(absent.as_bytes(), "x", Format::Toml).unwrap(), said, "{table} {name}");
    });
}
