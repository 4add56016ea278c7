//! Amounts of bytes as people write them: a number and its unit.

use std::fmt;

/// The units, and how many bytes each has; the larger ones first.
const UNITS: [(u64, &str); 9] = [
    (1 << 40, "TiB"),
    (1_000_000_000_000, "TB"),
    (1 << 30, "GiB"),
    (1_000_000_000, "GB"),
    (1 << 20, "MiB"),
    (1_000_000, "MB"),
    (1 << 10, "KiB"),
    (1_000, "kB"),
    (1, "B"),
];

/// An amount of a command line, which is written as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Reads `10GiB`, `500MB` or `4096B`; the unit may be in any case.
///
/// # Errors
/// A sentence.
pub fn parse(text: &str) -> Result<Size, String> {
    let expected = || "expected a whole number and its unit, as in 10GiB, 500MB or 4096B".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (unit_bytes, _) = UNITS.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(unit_bytes).map(Size).ok_or_else(expected)
}

impl fmt::Display for Size {
    /// In the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(bytes, _): &(u64, &str)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (bytes, unit) = UNITS.into_iter().find(whole).unwrap_or((1, "B"));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_it_is_read() {
        for (text, bytes) in [("10GiB", 10 << 30), ("500MB", 500_000_000), ("4096B", 4_096), ("0B", 0), ("1 kb", 1_000)] {
            assert_eq!(parse(text), Ok(Size(bytes)), "{text}");
        }
        for size in [0, 1, 1_000, 4_096, 10 << 30, 500_000_000, u64::MAX] {
            assert_eq!(parse(&Size(size).to_string()), Ok(Size(size)));
        }
        assert_eq!(Size(10 << 30).to_string(), "10GiB");
    }

    #[test]
    fn what_is_no_amount_is_refused_with_an_example() {
        for bad in ["", "10", "GiB", "-1GiB", "1.5GiB", "10 gigs", "99999999999999999999B", "20000000TiB"] {
            assert!(parse(bad).is_err_and(|why| why.contains("10GiB")), "{bad}");
        }
    }
}
