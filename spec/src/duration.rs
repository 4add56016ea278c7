//! Durations as people write them: `250ms`, `10s`, `5m`, `2h`, `1d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::written::{self, Numbers};

/// The units, and how many milliseconds each has.
const UNITS: [(u64, &str); 5] = [(1, "ms"), (1_000, "s"), (60_000, "m"), (3_600_000, "h"), (86_400_000, "d")];
/// The longest that any of them may be: a day, in milliseconds.
pub(crate) const MS_MAX: u64 = 86_400_000;

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub(crate) struct Duration {
    pub(crate) ms: u64,
}

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no duration; write a whole number and its unit (ms, s, m, h or d), as in \"250ms\", \"10s\" or \"5m\"")]
pub(crate) struct BadDuration;

impl FromStr for Duration {
    type Err = BadDuration;
    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let (unit_ms, _) = UNITS.into_iter().find(|(_, name)| *name == unit).ok_or(BadDuration)?;
        let number: u64 = number.parse().map_err(|_| BadDuration)?;
        number.checked_mul(unit_ms).map(|ms| Duration { ms }).ok_or(BadDuration)
    }
}

/// In the largest unit that leaves a whole number.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let (unit_ms, unit) = UNITS.into_iter().rev().find(|(unit_ms, _)| self.ms.is_multiple_of(*unit_ms)).unwrap_or(UNITS[0]);
        write!(f, "{}{unit}", self.ms / unit_ms)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::from_text(deserializer, Numbers::Refused, "a duration in quotes, as in \"10s\"")
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> String {
        duration.to_string()
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "duration", "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["10s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", MS_MAX)] {
            assert_eq!(text.parse(), Ok(Duration { ms }));
        }
        for bad in ["", "1", "s", "-1s", "1 s", "1.5s", "1S", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(bad.parse::<Duration>(), Err(BadDuration), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_is_read_as_it_is_written(ms: u64) {
            let duration = Duration { ms };
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
