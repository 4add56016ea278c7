//! Labels of nodes: what an operator says of a host, for apps to choose by.
//!
//! A key has 1 to 63 letters, digits, `.`, `_`, `-` and `/`; a value the same, without `/`. Both begin and end with a letter or a digit.
//! So a label can stand in a command line, in a constraint and in a URL as it is.

/// The most labels of one node.
pub const LABELS_MAX: usize = 64;
const BYTES_MAX: usize = 63;

/// A text that is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no label: use KEY=VALUE, of 1 to 63 letters, digits, '.', '_' and '-' each (in keys '/' too), with a letter or digit at both ends"
)]
pub struct BadLabel(String);

/// Reads a label from `KEY=VALUE`.
///
/// # Errors
/// [`BadLabel`].
pub fn parse(text: &str) -> Result<(String, String), BadLabel> {
    let parts = text.split_once('=').filter(|(key, value)| is_key(key) && is_value(value));
    let (key, value) = parts.ok_or_else(|| BadLabel(text.chars().take(128).collect()))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Whether this can be the key of a label.
#[must_use]
pub fn is_key(text: &str) -> bool {
    is_word(text, b"._-/")
}

/// Whether this can be the value of a label.
#[must_use]
pub fn is_value(text: &str) -> bool {
    is_word(text, b"._-")
}

fn is_word(text: &str, marks: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= BYTES_MAX
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_from_key_and_value() {
        assert_eq!(parse("zone=eu-1"), Ok(("zone".to_owned(), "eu-1".to_owned())));
        for bad in ["", "zone", "zone=", "=a", "zone=a=b", "zone = a", "zone-"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_can_stand_anywhere() {
        for good in ["a", "zone", "eu-1", "v1.2_3", "Disk", &"x".repeat(63)] {
            assert!(is_key(good) && is_value(good), "{good}");
        }
        assert!(is_key("example.com/rack") && !is_value("example.com/rack"));
        for bad in ["", "-a", "a-", "a b", "a=b", "a!", "\u{e4}", "/a", "a/", &"x".repeat(64)] {
            assert!(!is_key(bad) && !is_value(bad), "{bad}");
        }
    }
}
