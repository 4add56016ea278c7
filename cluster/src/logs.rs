//! What a replica writes: how much of it is kept, and what can be asked of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The most lines that can be asked for.
pub const TAIL_LINES_MAX: u64 = 1_000_000;
/// The smallest file of output, in bytes.
pub const FILE_BYTES_MIN: u64 = 4 * 1024;
/// The largest file of output, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 40;
/// The most files of one replica.
pub const FILES_MAX: u32 = 1_000;

/// How much of a replica's output is kept, both streams together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// The size of one file, in bytes.
    pub max_bytes: u64,
    /// How many files.
    pub files: u32,
}

impl Default for LogSpec {
    fn default() -> Self {
        LogSpec { max_bytes: 10 * 1024 * 1024, files: 10 }
    }
}

impl LogSpec {
    /// What is done with it: the nearest that can be done.
    #[must_use]
    pub fn in_bounds(self) -> Self {
        LogSpec { max_bytes: self.max_bytes.clamp(FILE_BYTES_MIN, FILE_BYTES_MAX), files: self.files.clamp(1, FILES_MAX) }
    }
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The replica, to its standard output.
    Stdout,
    /// The replica, to its standard error.
    Stderr,
    /// Ostler, about this output: what is missing in it.
    Ostler,
}

impl Stream {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Ostler => "ostler",
        }
    }
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This moment.
    At(Timestamp),
    /// So long before the question is asked, in milliseconds, by the clock of the host that wrote the times.
    Ago(u64),
}

impl Since {
    /// Reads an RFC 3339 time, or a duration such as `10m`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Since::At(moment));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0,
        };
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).filter(|_| unit_ms > 0);
        ms.map(Since::Ago)
            .ok_or_else(|| "since takes a time as in 2026-03-01T12:00:00Z (RFC 3339) or a duration as in 90s, 10m, 2h or 1d".to_owned())
    }

    /// The moment that is meant when it is `now`.
    #[must_use]
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Since::At(moment) => moment,
            Since::Ago(ms) => Timestamp(now.0.saturating_sub(ms.saturating_mul(1_000))),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Since::At(moment) => write!(f, "{moment}"),
            Since::Ago(ms) => write!(f, "{ms}ms"),
        }
    }
}

/// What is asked for. It is written as it is read, so that a controller can pass it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// So many last lines; all that there is without it.
    pub tail: Option<u64>,
    /// Go on with what comes, until the replica is gone.
    pub follow: bool,
    /// Nothing older.
    pub since: Option<Since>,
    /// Each line begins with its time and its stream.
    pub timestamps: bool,
    /// This stream only; both, and what Ostler says of them, without it.
    pub stream: Option<Stream>,
}

impl Query {
    /// Reads `tail=N&follow=true&since=10m&timestamps=true&stream=stdout`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
            match name {
                "tail" => query.tail = Some(lines(value.unwrap_or_default())?),
                "follow" => query.follow = switch(name, value)?,
                "timestamps" => query.timestamps = switch(name, value)?,
                "since" => query.since = Some(Since::parse(&unescaped(value.unwrap_or_default()))?),
                "stream" => {
                    query.stream = Some(match value {
                        Some("stdout") => Stream::Stdout,
                        Some("stderr") => Stream::Stderr,
                        _ => return Err("stream takes stdout or stderr; leave it out for both".to_owned()),
                    });
                }
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(format!(
                        "there is no parameter \"{other}\"; logs take tail=N, follow=true, since=TIME, timestamps=true and stream=stdout or stderr"
                    ));
                }
            }
        }
        Ok(query)
    }
}

fn lines(text: &str) -> Result<u64, String> {
    let fits = |lines: &u64| *lines <= TAIL_LINES_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(fits).ok_or_else(|| format!("tail takes a whole number of lines from 0 to {TAIL_LINES_MAX}, as in tail=100"))
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(format!("{name} takes true or false, as in {name}=true")),
    }
}

/// RFC 3986 section 2.1: a client may write any character as `%` and its bytes. What is not written so is left as it stands.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match escaped.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit())).and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Query {
    /// Only what is asked for: an agent that is older than a parameter refuses it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tail) = self.tail {
            write!(f, "tail={tail}&")?;
        }
        write!(f, "follow={}", self.follow)?;
        if let Some(since) = self.since {
            write!(f, "&since={since}")?;
        }
        if self.timestamps {
            f.write_str("&timestamps=true")?;
        }
        match self.stream {
            Some(stream) => write!(f, "&stream={}", stream.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_asked_for_is_passed_on_as_it_was_read() {
        let noon = Timestamp(1_772_366_400_000_000);
        let all = Query { tail: Some(3), follow: true, since: Some(Since::At(noon)), timestamps: true, stream: Some(Stream::Stderr) };
        let cases = [
            ("", Query::default()),
            ("follow", Query { follow: true, ..Query::default() }),
            ("tail=0&follow=false", Query { tail: Some(0), ..Query::default() }),
            ("since=90s", Query { since: Some(Since::Ago(90_000)), ..Query::default() }),
            ("since=1d", Query { since: Some(Since::Ago(86_400_000)), ..Query::default() }),
            ("since=2026-03-01T13:00:00%2B01:00&tail=3&follow=true&timestamps=true&stream=stderr", all),
            ("since=2026-03-01T13:00:00+01:00&tail=3&follow&timestamps&stream=stderr", all),
        ];
        for (text, query) in cases {
            assert_eq!(Query::parse(text), Ok(query), "{text}");
            assert_eq!(Query::parse(&query.to_string()), Ok(query), "{query}");
        }
    }

    #[test]
    fn a_query_that_is_not_understood_is_refused_in_one_sentence() {
        for bad in [
            "tail=",
            "tail",
            "tail=-1",
            "tail=+1",
            "tail=1.5",
            "tail=x",
            "tail=1000001",
            "tail=99999999999999999999",
            "follow=yes",
            "follow=",
            "timestamps=1",
            "since=",
            "since",
            "since=yesterday",
            "since=10",
            "since=-10m",
            "since=1.5h",
            "since=99999999999999999999s",
            "since=18446744073709551615d",
            "since=2026-02-30T00:00:00Z",
            "since=%",
            "since=%zz",
            "since=%+1",
            "stream=x",
            "stream=ostler",
            "tial=1",
            "Tail=1",
            "x",
        ] {
            let sentence = Query::parse(bad).unwrap_err();
            assert!(!sentence.contains('\n') && sentence.len() < 200, "{bad}: {sentence}");
        }
    }

    #[test]
    fn a_duration_ends_now() {
        assert_eq!(Since::Ago(1_500).moment(Timestamp(2_000_000)), Timestamp(500_000));
        assert_eq!(Since::Ago(u64::MAX).moment(Timestamp(2_000_000)), Timestamp(0));
    }

    #[test]
    fn nonsense_becomes_the_nearest_that_can_be_done() {
        assert_eq!(LogSpec { max_bytes: 0, files: 0 }.in_bounds(), LogSpec { max_bytes: FILE_BYTES_MIN, files: 1 });
        assert_eq!(LogSpec { max_bytes: u64::MAX, files: u32::MAX }.in_bounds(), LogSpec { max_bytes: FILE_BYTES_MAX, files: FILES_MAX });
        assert_eq!(LogSpec::default().in_bounds(), LogSpec::default());
    }
}
