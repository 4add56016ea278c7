//! One line of a log file: `2026-03-01T12:00:00.000000Z stdout F text`, the format that Kubernetes' runtimes write, so that readers of logs know it.
//!
//! `F` ends a line of the replica; `P` is a piece of one that goes on in the next record of its stream. All but the text has a fixed length,
//! and times compare as text.

use cluster::logs::Stream;
use cluster::timestamp::Timestamp;

/// `2026-03-01T12:00:00.000000Z`
pub const TIME_BYTES: usize = 27;
/// The time, the stream's name, the mark, and a space behind each.
pub const HEAD_BYTES: usize = TIME_BYTES + 10;
/// The longest text of a record; what a replica writes without an end of line is cut here.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written.
    pub time: &'a [u8],
    /// To which stream.
    pub stream: Stream,
    /// The line ends with it.
    pub is_end: bool,
    /// What was written.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a line of a file, without its end. `None`: it is no record, or the rest of one that was torn.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = line.split_at_checked(TIME_BYTES)?;
        let (head, text) = rest.split_at_checked(HEAD_BYTES - TIME_BYTES)?;
        let stream =
            [Stream::Stdout, Stream::Stderr, Stream::Ostler].into_iter().find(|stream| head.get(1..7) == Some(stream.name().as_bytes()))?;
        let is_end = match (head.first()?, head.get(7..)?) {
            (b' ', b" F ") => true,
            (b' ', b" P ") => false,
            _ => return None,
        };
        let is_time = time.ends_with(b"Z") && time.get(10) == Some(&b'T') && time.first()?.is_ascii_digit();
        is_time.then_some(Record { time, stream, is_end, text })
    }
}

/// Writes one: its text is what `parts` hold, one behind the other.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub fn write(to: &mut Vec<u8>, time: &str, stream: Stream, is_end: bool, parts: [&[u8]; 2]) {
    to.extend_from_slice(time.as_bytes());
    to.push(b' ');
    to.extend_from_slice(stream.name().as_bytes());
    to.extend_from_slice(if is_end { b" F " } else { b" P " });
    parts.iter().for_each(|part| to.extend_from_slice(part));
    to.push(b'\n');
}

/// The time of this host.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for (stream, is_end) in [(Stream::Stdout, true), (Stream::Stderr, false), (Stream::Ostler, true)] {
            let mut line = Vec::new();
            write(&mut line, &Timestamp(1).to_string(), stream, is_end, [b"half ", b"\xff\r"]);
            let line = line.strip_suffix(b"\n").unwrap();
            assert_eq!(line.len(), HEAD_BYTES + 7);
            let expected = Record { time: b"1970-01-01T00:00:00.000001Z", stream, is_end, text: b"half \xff\r" };
            assert_eq!(Record::read(line), Some(expected));
        }
        for torn in [
            "",
            "x",
            "1970-01-01T00:00:00.000001Z stdout F",
            "1970-01-01T00:00:00.000001Z stdout X text",
            "970-01-01T00:00:00.000001Z stdout F text",
        ] {
            assert_eq!(Record::read(torn.as_bytes()), None, "{torn}");
        }
    }
}
