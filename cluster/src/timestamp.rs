//! A moment as people write it: RFC 3339, in UTC, to the microsecond. Absent from here: the clock.

use std::fmt;
use std::str::FromStr;

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The end of the year 9999, in seconds: the last that four digits can write.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Microseconds since 1970-01-01T00:00:00Z. It is always written with the same number of characters, so texts are in the order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time as in 2026-03-01T12:00:00Z or 2026-03-01T12:00:00.5+01:00 (RFC 3339)")]
pub struct BadTimestamp;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.0 / MICROS_PER_SECOND).min(SECONDS_MAX);
        let micros = self.0 % MICROS_PER_SECOND;
        let of_day = seconds % 86_400;
        let (year, month, day) = civil(i64::try_from(seconds / 86_400).unwrap_or(0));
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    /// RFC 3339 section 5.6: `date-time`, with any number of digits behind the second and any offset. A leap second counts as the one
    /// before it, and what is older than 1970 as 1970.
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        read(text.as_bytes()).ok_or(BadTimestamp)
    }
}

fn read(text: &[u8]) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.iter().try_fold(0, |sum: i64, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let mark = |at: usize, marks: &[u8]| text.get(at).is_some_and(|byte| marks.contains(byte)).then_some(());
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    mark(4, b"-")?;
    mark(7, b"-")?;
    mark(10, b"Tt ")?;
    mark(13, b":")?;
    mark(16, b":")?;
    let fits = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !fits {
        return None;
    }
    let mut at = 19;
    let mut micros = 0;
    if text.get(at) == Some(&b'.') {
        let fraction = text.get(at + 1..)?;
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + fraction.get(place).filter(|_| place < length).map_or(0, |byte| u64::from(byte - b'0'));
        }
        at += 1 + length;
    }
    let offset = match text.get(at)? {
        b'Z' | b'z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 => {
            mark(at + 3, b":")?;
            let (hours, minutes) = (digits(at + 1, at + 3)?, digits(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second.min(59) - offset;
    // Of a moment before 1970 nothing is left, its fraction neither.
    Some(match u64::try_from(seconds) {
        Ok(seconds) => Timestamp(seconds * MICROS_PER_SECOND + micros),
        Err(_) => Timestamp(0),
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of a year.
fn days_to_year(year: i64) -> i64 {
    let before = year - 1;
    let since_year_one = before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    // 1970-01-01 is so many days after 0001-01-01.
    since_year_one - 719_162
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    days_to_year(year) + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

/// Year, month and day of a day that is counted from 1970-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day / 366;
    while days_to_year(year + 1) <= day {
        year += 1;
    }
    let mut left = day - days_to_year(year);
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_microseconds() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_735_689_599_999_999, "2024-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Timestamp(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(micros)));
        }
        assert!(Timestamp(u64::MAX).to_string().starts_with("9999-12-31T23:59:59."));
    }

    #[test]
    fn every_day_of_four_centuries_is_read_as_it_is_written() {
        for day in 0..146_097_u64 {
            let moment = Timestamp((day * 86_400 + day % 86_400) * MICROS_PER_SECOND + day);
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }

    #[test]
    fn rfc_3339_has_offsets_and_fractions() {
        let noon = 1_772_366_400_000_000;
        for (text, micros) in [
            ("2026-03-01T12:00:00Z", noon),
            ("2026-03-01t12:00:00z", noon),
            ("2026-03-01 12:00:00Z", noon),
            ("2026-03-01T13:30:00+01:30", noon),
            ("2026-03-01T00:00:00-12:00", noon),
            ("2026-03-01T12:00:00.5Z", noon + 500_000),
            ("2026-03-01T12:00:00.1234567899Z", noon + 123_456),
            ("1969-12-31T23:59:59.9Z", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(micros)), "{text}");
        }
        for bad in [
            "",
            "Z",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-3-1T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:60:00Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00+1:00",
            "2026-03-01T12:00:00Zx",
            "+026-03-01T12:00:00Z",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T12:00:00ä",
            "1767225600",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(BadTimestamp), "{bad}");
        }
    }
}
