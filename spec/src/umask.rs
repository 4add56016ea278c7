//! A file mode creation mask as people write it: `"027"` or `"0o027"`, in octal.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use cluster::run_as::UMASK_MAX;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::written::{self, Numbers};

/// A mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub(crate) struct Umask(pub(crate) u32);

/// A text that is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no umask; write it in octal, \"000\" to \"777\", as in \"027\"")]
pub(crate) struct BadUmask;

impl FromStr for Umask {
    type Err = BadUmask;
    fn from_str(text: &str) -> Result<Self, BadUmask> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mask = u32::from_str_radix(digits, 8).ok().filter(|mask| is_octal && *mask <= UMASK_MAX);
        mask.map(Umask).ok_or(BadUmask)
    }
}

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

impl<'de> Deserialize<'de> for Umask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::from_text(deserializer, Numbers::Refused, "octal digits in quotes, as in \"027\"")
    }
}

impl From<Umask> for String {
    fn from(mask: Umask) -> String {
        mask.to_string()
    }
}

impl JsonSchema for Umask {
    fn schema_name() -> Cow<'static, str> {
        "Umask".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "octal digits", "type": "string", "pattern": "^(0o)?0?[0-7]{1,3}$", "examples": ["027"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_umask_is_octal() {
        for (text, mask) in [("027", 0o27), ("0o027", 0o27), ("0022", 0o22), ("0", 0), ("777", 0o777)] {
            assert_eq!(text.parse(), Ok(Umask(mask)));
        }
        for bad in ["", "0o", "028", "1000", "0x1f", "-1", "+27", "00027", "u=rwx"] {
            assert_eq!(bad.parse::<Umask>(), Err(BadUmask), "{bad}");
        }
        for mask in 0..=UMASK_MAX {
            assert_eq!(Umask(mask).to_string().parse(), Ok(Umask(mask)));
        }
    }
}
