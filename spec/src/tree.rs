//! A spec as it was written: values, each with the place where it stands in the text. TOML and JSON give the same.
//!
//! Absent from here: what the keys mean.

mod json;
mod toml;

use std::ops::Range;

pub(crate) use self::json::from_json;
pub(crate) use self::toml::from_toml;

/// The deepest nesting that is read: a spec needs three levels.
pub(crate) const DEPTH_MAX: usize = 16;

/// A value and where it stands, in bytes.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Integer(i64),
    /// More than an `i64` holds.
    Large(u64),
    Float(f64),
    Bool(bool),
    /// JSON's own; TOML has none.
    Null,
    /// TOML's own; nothing in a spec is one.
    Time,
    List(Vec<Tree>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Tree,
}

impl Tree {
    /// What stands below this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.node {
            Node::Table(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What stands at this place of a list.
    pub(crate) fn item(&self, at: usize) -> Option<&Tree> {
        match &self.node {
            Node::List(items) => items.get(at),
            _ => None,
        }
    }
}
