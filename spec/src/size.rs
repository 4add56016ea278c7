//! Sizes as people write them: `64MiB`, `10MB`, `512B`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::written::{self, Numbers};

/// The units (IEC 80000-13 and SI), and how many bytes each has.
const UNITS: [(u64, &str); 9] = [
    (1, "B"),
    (1_000, "kB"),
    (1 << 10, "KiB"),
    (1_000_000, "MB"),
    (1 << 20, "MiB"),
    (1_000_000_000, "GB"),
    (1 << 30, "GiB"),
    (1_000_000_000_000, "TB"),
    (1 << 40, "TiB"),
];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub(crate) struct Size {
    pub(crate) bytes: u64,
}

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no size; write a whole number and its unit (B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB), as in \"64MiB\"")]
pub(crate) struct BadSize;

impl FromStr for Size {
    type Err = BadSize;
    fn from_str(text: &str) -> Result<Self, BadSize> {
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let number: u64 = number.parse().map_err(|_| BadSize)?;
        // Nothing needs no unit.
        if number == 0 && unit.is_empty() {
            return Ok(Size { bytes: 0 });
        }
        let unit = if unit == "KB" { "kB" } else { unit };
        let (unit_bytes, _) = UNITS.into_iter().find(|(_, name)| *name == unit).ok_or(BadSize)?;
        number.checked_mul(unit_bytes).map(|bytes| Size { bytes }).ok_or(BadSize)
    }
}

/// In the unit that leaves the smallest whole number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes == 0 {
            return f.write_str("0");
        }
        let (unit_bytes, unit) = UNITS.into_iter().rev().find(|(bytes, _)| self.bytes.is_multiple_of(*bytes)).unwrap_or(UNITS[0]);
        write!(f, "{}{unit}", self.bytes / unit_bytes)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::from_text(deserializer, Numbers::Taken, "a size in quotes, as in \"64MiB\"")
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "size", "type": "string", "pattern": "^(0|[0-9]+(B|[KMGT]iB|[kKMGT]B))$", "examples": ["64MiB"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_has_a_unit() {
        for (text, bytes) in [("0", 0), ("512B", 512), ("64MiB", 64 << 20), ("10MB", 10_000_000), ("1KB", 1_000), ("2GiB", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Size { bytes }));
        }
        for bad in ["", "1", "64M", "64 MiB", "64mib", "-1B", "1.5GiB", "99999999999TiB", "MiB"] {
            assert_eq!(bad.parse::<Size>(), Err(BadSize), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_size_is_read_as_it_is_written(bytes: u64, shift in 0u32..40) {
            let size = Size { bytes: bytes >> shift << shift };
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
