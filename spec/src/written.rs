//! Reads a value that is written as a text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// Whether a number is taken as the text of its digits.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Numbers {
    Taken,
    /// A umask of 27 would be read as the octal 27.
    Refused,
}

/// Reads it; `expected` follows "should be".
pub(crate) fn from_text<'de, D, T>(deserializer: D, numbers: Numbers, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(&'static str, Numbers, PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            let read = if self.1 == Numbers::Taken { number.to_string().parse().ok() } else { None };
            read.ok_or_else(|| E::invalid_type(serde::de::Unexpected::Signed(number), &self))
        }
    }
    deserializer.deserialize_any(Text(expected, numbers, PhantomData))
}
