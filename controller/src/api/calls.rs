//! What the calls of the API take.

use std::collections::BTreeMap;
use std::fmt;

use cluster::app::COUNT_MAX;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use utoipa::ToSchema;

use super::body::Call;

/// A number of replicas: in JSON an integer literal, so neither `4.0` nor `"4"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumber;
        impl Visitor<'_> for WholeNumber {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {COUNT_MAX} for the count")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
                let count = u32::try_from(value).ok().filter(|count| *count <= COUNT_MAX);
                count.map(Count).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
        }
        deserializer.deserialize_u64(WholeNumber)
    }
}

/// Add a node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddNode {
    /// The URL of its agent: scheme, host and port.
    #[schema(example = "http://localhost:9091")]
    pub url: String,
    /// The agent may be told to leave the cluster that it listens to, and to replace what it runs for it.
    #[serde(default)]
    pub take_over: bool,
}

impl Call for AddNode {
    const EXAMPLE: &'static str = r#"{"url":"http://localhost:9091"}"#;
}

/// Remove a node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveNode {
    /// The URL by which it was added.
    #[schema(example = "http://localhost:9091")]
    pub url: String,
}

impl Call for RemoveNode {
    const EXAMPLE: &'static str = r#"{"url":"http://localhost:9091"}"#;
}

/// Set how many replicas an app should have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many.
    #[schema(value_type = u32, minimum = 0, maximum = 1_000_000, example = 4)]
    pub count: Count,
    /// Of which app; the only one, or else `worker`, where it is not said.
    #[serde(default)]
    #[schema(example = "worker")]
    pub app: Option<String>,
}

impl Call for Scale {
    const EXAMPLE: &'static str = r#"{"count":4}"#;
}

/// Set how many replicas the app of the path should have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleApp {
    /// How many.
    #[schema(value_type = u32, minimum = 0, maximum = 1_000_000, example = 4)]
    pub count: Count,
}

impl Call for ScaleApp {
    const EXAMPLE: &'static str = r#"{"count":4}"#;
}

/// Change what is said of a node's host.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Labels to set. Keys and values have 1 to 63 letters, digits, `.`, `_` and `-` (keys `/` too), with a letter or digit at both ends.
    #[serde(default)]
    #[schema(example = json!({"zone": "a"}))]
    pub set: BTreeMap<String, String>,
    /// Keys of labels that were set here and are to go. What the node's agent says for them counts again.
    #[serde(default)]
    pub remove: Vec<String>,
}

impl Call for Label {
    const EXAMPLE: &'static str = r#"{"set":{"zone":"a"},"remove":["disk"]}"#;
}
