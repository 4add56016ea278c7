//! Labels of nodes: what an operator says of a host, for apps to choose by.
//!
//! A key has 1 to 63 letters, digits, `.`, `_`, `-` and `/`; a value the same, without `/`. Both begin and end with a letter or a digit.
//! So a label can stand in a command line, in a constraint and in a URL as it is.

const BYTES_MAX: usize = 63;

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
