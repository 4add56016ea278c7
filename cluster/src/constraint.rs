//! What an app asks of the nodes that it runs on.
//!
//! Absent from here: choosing one of them (`placement`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::label;

/// The most constraints of one app.
pub const CONSTRAINTS_MAX: usize = 16;

/// Where replicas of an app may run, and how they are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// All of them must hold for a node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// The key of a label: replicas are spread evenly over its values first, then over nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// The most replicas of the app on one node; any number without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_node: Option<u32>,
}

/// One condition on a node's labels. As text: `zone=a`, `zone!=a`, `zone` (it has such a label), `!zone` (it has none).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Constraint {
    /// The label has this value.
    Is {
        /// The label's key.
        key: String,
        /// The value.
        value: String,
    },
    /// The label has another value, or is absent.
    IsNot {
        /// The label's key.
        key: String,
        /// The value.
        value: String,
    },
    /// The label is there.
    Has(String),
    /// The label is absent.
    HasNot(String),
}

/// A text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no constraint: use KEY=VALUE, KEY!=VALUE, KEY or !KEY, where keys and values have letters, digits, '.', '_' and '-'")]
pub struct BadConstraint(String);

impl Constraint {
    /// Whether it holds for a node with these labels.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Constraint::Is { key, value } => labels.get(key) == Some(value),
            Constraint::IsNot { key, value } => labels.get(key) != Some(value),
            Constraint::Has(key) => labels.contains_key(key),
            Constraint::HasNot(key) => !labels.contains_key(key),
        }
    }
}

impl FromStr for Constraint {
    type Err = BadConstraint;
    fn from_str(text: &str) -> Result<Self, BadConstraint> {
        let bad = || BadConstraint(text.chars().take(128).collect());
        let key = |key: &str| if label::is_key(key) { Ok(key.to_owned()) } else { Err(bad()) };
        let value = |value: &str| if label::is_value(value) { Ok(value.to_owned()) } else { Err(bad()) };
        if let Some((left, right)) = text.split_once("!=") {
            Ok(Constraint::IsNot { key: key(left)?, value: value(right)? })
        } else if let Some((left, right)) = text.split_once('=') {
            Ok(Constraint::Is { key: key(left)?, value: value(right)? })
        } else if let Some(absent) = text.strip_prefix('!') {
            Ok(Constraint::HasNot(key(absent)?))
        } else {
            Ok(Constraint::Has(key(text)?))
        }
    }
}

impl TryFrom<String> for Constraint {
    type Error = BadConstraint;
    fn try_from(text: String) -> Result<Self, BadConstraint> {
        text.parse()
    }
}

impl From<Constraint> for String {
    fn from(constraint: Constraint) -> String {
        constraint.to_string()
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constraint::Is { key, value } => write!(f, "{key}={value}"),
            Constraint::IsNot { key, value } => write!(f, "{key}!={value}"),
            Constraint::Has(key) => f.write_str(key),
            Constraint::HasNot(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_read_as_it_is_written() {
        for text in ["zone=a", "zone!=a", "zone", "!zone", "example.com/rack=r1"] {
            assert_eq!(text.parse::<Constraint>().map(|constraint| constraint.to_string()), Ok(text.to_owned()));
        }
        for bad in
            ["", "=", "!", "=a", "zone=", "zone!=", "zone==a", "zone = a", "zone=a=b", "!zone=a", "zone>1", "z\u{f6}ne=a", "zone=a|b"]
        {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_that_is_absent_has_no_value() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        for (text, holds) in [
            ("zone=a", true),
            ("zone=b", false),
            ("disk=ssd", false),
            ("zone!=a", false),
            ("zone!=b", true),
            ("disk!=hdd", true),
            ("zone", true),
            ("disk", false),
            ("!zone", false),
            ("!disk", true),
        ] {
            assert_eq!(text.parse::<Constraint>().map(|constraint| constraint.holds(&labels)), Ok(holds), "{text}");
        }
    }
}
