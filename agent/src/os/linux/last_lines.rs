//! The last lines of a stream that say something: a replica's last words.

use std::collections::VecDeque;

/// The most lines that are kept.
const LINES_MAX: usize = 5;
/// The most of one line.
const LINE_BYTES_MAX: usize = 400;
/// The most of all lines before the last one. They stand in every report of a replica that fails, and there may be many of those.
const EARLIER_BYTES_MAX: usize = 400;
/// How much of the end of a chunk is searched for lines.
const TAIL_BYTES: usize = 4 * 1024;

/// The last lines that are not blank, so far as they are known.
#[derive(Debug, Default)]
pub struct LastLines {
    whole: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
}

impl LastLines {
    /// Takes in what was written.
    pub fn feed(&mut self, chunk: &[u8]) {
        let tail = &chunk[chunk.len().saturating_sub(TAIL_BYTES)..];
        if tail.len() < chunk.len() {
            self.partial.clear();
        }
        for piece in tail.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                if !self.partial.trim_ascii().is_empty() {
                    // The room of the line that goes is used again.
                    let mut oldest = if self.whole.len() >= LINES_MAX { self.whole.pop_front().unwrap_or_default() } else { Vec::new() };
                    std::mem::swap(&mut oldest, &mut self.partial);
                    self.whole.push_back(oldest);
                }
                self.partial.clear();
            }
        }
    }

    /// As text, the oldest first.
    pub fn texts(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut earlier_bytes = 0;
        for text in std::iter::once(&self.partial).chain(self.whole.iter().rev()).filter_map(|bytes| text(bytes)).take(LINES_MAX) {
            if !lines.is_empty() {
                earlier_bytes += text.len();
            }
            if earlier_bytes > EARLIER_BYTES_MAX {
                break;
            }
            lines.push(text);
        }
        lines.reverse();
        lines
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    // It will be shown on terminals: no control characters.
    let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut last = LastLines::default();
        chunks.iter().for_each(|chunk| last.feed(chunk));
        last.texts()
    }

    #[test]
    fn the_last_lines_are_those_that_say_something() {
        let cases: [(&[&[u8]], &[&str]); 8] = [
            (&[], &[]),
            (&[b"\n \n"], &[]),
            (&[b"one\ntwo\n"], &["one", "two"]),
            (&[b"one\ntwo\n\n\n"], &["one", "two"]),
            (&[b"one\ntw", b"o\n"], &["one", "two"]),
            (&[b"1\n2\n3\n4\n5\n6\n", b"no end"], &["3", "4", "5", "6", "no end"]),
            (&[b"\x1b[31mred\x1b[0m\n"], &["[31mred[0m"]),
            (&[b"\xff\n"], &["\u{fffd}"]),
        ];
        for (chunks, expected) in cases {
            assert_eq!(lines_of(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn a_flood_leaves_little() {
        let flood = [b'x'; 100_000];
        assert_eq!(lines_of(&[&flood, b"\nlast\n"]).last().map(String::as_str), Some("last"));
        assert_eq!(lines_of(&[&flood]).concat().len(), LINE_BYTES_MAX);
        let line = [b"y".repeat(LINE_BYTES_MAX), b"\n".to_vec()].concat();
        assert!(lines_of(&[line.as_slice(); 9]).concat().len() <= LINE_BYTES_MAX + EARLIER_BYTES_MAX);
    }
}
