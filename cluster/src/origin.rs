//! Who said that an app is wanted. Whoever did says what becomes of it: a file of the app source never changes an app that was
//! applied by hand, nor the other way round.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who said that an app is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The seed's app, which stands in where no app source is named.
    #[default]
    Builtin,
    /// An operator, over the API.
    Hand,
    /// A file of an app source.
    File {
        /// The source, as it was named: `s3://bucket/prefix`.
        source: String,
        /// The file's path below it.
        file: String,
    },
}

impl Origin {
    /// The file of this source that it is.
    #[must_use]
    pub fn file_of(&self, url: &str) -> Option<&str> {
        match self {
            Origin::File { source, file } if source == url => Some(file),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Builtin => f.write_str("built in"),
            Origin::Hand => f.write_str("by hand"),
            Origin::File { source, file } => write!(f, "{}/{file}", source.trim_end_matches('/')),
        }
    }
}
