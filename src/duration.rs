//! Durations as people write them: a number and its unit.

use std::fmt;
use std::time::Duration;

/// The units, and how many milliseconds each has.
const UNITS: [(u64, &str); 4] = [(1, "ms"), (1_000, "s"), (60_000, "m"), (3_600_000, "h")];

/// Reads `500ms`, `3s`, `1m` or `2h`.
///
/// # Errors
/// A sentence.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number and its unit, as in 500ms, 3s or 1m".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (unit_ms, _) = UNITS.into_iter().find(|(_, name)| *name == unit).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(expected)
}

/// Reads a time of a day at most.
///
/// # Errors
/// A sentence.
pub fn parse_up_to_a_day(text: &str) -> Result<Duration, String> {
    parse(text).and_then(|time| if time <= Duration::from_secs(86_400) { Ok(time) } else { Err("expected 24h at most".to_owned()) })
}

/// Reads the time after which a silent node is lost: two heartbeats at least, or every delay would be a fault.
///
/// # Errors
/// A sentence.
pub fn parse_lost_after(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    let shortest = Duration::from_millis(cluster::settings::LOST_AFTER_MS_MIN);
    if duration < shortest {
        return Err(format!("a node says something every 500ms, so less than {}ms would lose healthy ones", shortest.as_millis()));
    }
    if duration > Duration::from_secs(86_400) {
        return Err("more than 24h is as good as never".to_owned());
    }
    Ok(duration)
}

/// A duration of a command line, which is written as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milliseconds(pub u64);

impl fmt::Display for Milliseconds {
    /// In the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit_ms, unit) = UNITS.into_iter().rev().find(|(unit_ms, _)| self.0.is_multiple_of(*unit_ms)).unwrap_or(UNITS[0]);
        write!(f, "{}{unit}", self.0 / unit_ms)
    }
}

/// Makes a reader of durations between two bounds.
pub fn parse_between(shortest: Milliseconds, longest: Milliseconds) -> impl Fn(&str) -> Result<Milliseconds, String> + Clone {
    move |text| {
        // What is too long for the type is too long for any bound.
        let ms = u64::try_from(parse(text)?.as_millis()).unwrap_or(u64::MAX);
        if (shortest.0..=longest.0).contains(&ms) {
            Ok(Milliseconds(ms))
        } else {
            Err(format!("expected between {shortest} and {longest}"))
        }
    }
}

/// A time that was measured, as a person reads it: `0.234 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// How long something has been up, in its two largest units: `12s`, `3m05s`, `2h07m`, `4d03h`.
pub fn uptime(seconds: f64) -> String {
    let all =
        if seconds.is_finite() && seconds > 0.0 { Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs() } else { 0 };
    let (minutes, hours, days) = (all / 60, all / 3_600, all / 86_400);
    if days > 0 {
        format!("{days}d{:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{:02}s", all % 60)
    } else {
        format!("{all}s")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_number_and_its_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "3", "s", "-3s", "3 s", "3S", "1.5s", "3sec", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["500ms", "3s", "90s", "1m", "2h", "1500ms"] {
            let ms = u64::try_from(parse(text).unwrap().as_millis()).unwrap();
            assert_eq!(Milliseconds(ms).to_string(), text);
        }
        let read = parse_between(Milliseconds(10), Milliseconds(86_400_000));
        assert_eq!(read("1m"), Ok(Milliseconds(60_000)));
        for bad in ["0s", "9ms", "25h", "5000000000h"] {
            assert_eq!(read(bad), Err("expected between 10ms and 24h".to_owned()), "{bad}");
        }
    }

    #[test]
    fn lost_after_is_at_least_two_heartbeats() {
        assert!(parse_lost_after("999ms").is_err());
        assert_eq!(parse_lost_after("1s"), Ok(Duration::from_secs(1)));
        assert!(parse_lost_after("25h").is_err());
    }

    #[test]
    fn an_uptime_has_two_units() {
        for (seconds, text) in
            [(0.0, "0s"), (12.9, "12s"), (185.0, "3m05s"), (7_620.0, "2h07m"), (356_400.0, "4d03h"), (-1.0, "0s"), (f64::NAN, "0s")]
        {
            assert_eq!(uptime(seconds), text);
        }
        assert!(uptime(f64::MAX).ends_with('h'));
    }
}
