//! The log of one replica, as its guardian writes it: records, rotation, and what happens when the disk does not take them.
//!
//! What cannot be written waits in a bounded buffer; what does not fit into that is dropped, counted, and told: as a line in the log, and
//! to the agent. A write that is slow buys a pause of four times its length, so that a disk that cannot keep up costs its
//! replicas output and not their time.

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::logs::{LogSpec, Stream};

use super::log_files::LogFiles;
use crate::guardian::protocol::LogNews;
use crate::logs::record;

/// Records are written in pieces of about this.
const BATCH_BYTES: usize = 64 * 1024;
/// The most that waits for a disk that does not take it, per replica.
const WAITING_BYTES_MAX: usize = 128 * 1024;
/// What follows output that was left out is left out for so long as well.
const SHED_FOR: Duration = Duration::from_millis(20);
/// After a write that failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A write that takes longer means that the disk cannot keep up.
const SLOW: Duration = Duration::from_millis(50);
/// The longest pause after a slow write.
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// The log of one replica.
#[derive(Debug)]
pub struct Log {
    files: LogFiles,
    /// The longest text of a record, and the longest piece that is written at once.
    text_max: usize,
    piece_max: usize,
    /// Lines of stdout and of stderr that have not ended yet.
    halves: [Vec<u8>; 2],
    waiting: Waiting,
    trouble: Trouble,
    news: LogNews,
    /// What the agent was told last.
    told: Option<String>,
}

/// What could not be written yet: records, and behind them the number of bytes that are missing in the log.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<u8>,
    dropped_bytes: u64,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Nothing is written before.
    pause_until: Option<Instant>,
    why: Option<String>,
    /// The last write failed; otherwise it was slow.
    failed: bool,
}

impl Log {
    /// A log; nothing is made on the disk before something is to be written.
    pub fn new(directory: &Path, spec: LogSpec) -> Self {
        let spec = spec.in_bounds();
        let quarter = usize::try_from(spec.max_bytes / 4).unwrap_or(usize::MAX);
        Log {
            files: LogFiles::new(directory, spec),
            text_max: record::TEXT_BYTES_MAX.min(quarter),
            piece_max: usize::try_from(spec.max_bytes / 2).unwrap_or(usize::MAX).min(BATCH_BYTES),
            halves: [Vec::new(), Vec::new()],
            waiting: Waiting::default(),
            trouble: Trouble::default(),
            news: LogNews::default(),
            told: None,
        }
    }

    /// Takes what was written to a stream. `records` is room to work in.
    pub fn take(&mut self, stream: Stream, chunk: &[u8], records: &mut Vec<u8>) {
        if self.waiting.dropped_bytes > 0 && self.is_paused() {
            // Nothing of it could be kept: the time to look at it is better spent on emptying the pipe.
            self.dropped(chunk.len() as u64);
            return;
        }
        let time = record::now().to_string();
        let mut rest = chunk;
        let mut text_bytes = 0;
        records.clear();
        while !rest.is_empty() {
            let Some(half) = self.halves.get_mut(usize::from(stream == Stream::Stderr)) else { return };
            let room = self.text_max.saturating_sub(half.len());
            // An end of line right behind a text of full length ends it.
            let window = rest.get(..=room).unwrap_or(rest);
            let (text, is_end, after) = match memchr::memchr(b'\n', window) {
                Some(at) => (rest.get(..at), true, rest.get(at + 1..)),
                None if rest.len() > room => (rest.get(..room), false, rest.get(room..)),
                None => {
                    half.extend_from_slice(rest);
                    break;
                }
            };
            let text = text.unwrap_or_default();
            record::write(records, &time, stream, is_end, [half, text]);
            text_bytes += (half.len() + text.len()) as u64 + u64::from(is_end);
            half.clear();
            rest = after.unwrap_or_default();
            if records.len() >= BATCH_BYTES {
                self.put(records, text_bytes);
                records.clear();
                text_bytes = 0;
            }
        }
        if !records.is_empty() {
            self.put(records, text_bytes);
        }
    }

    /// Leaves out what was written, because its writer waits and has waited for long; and for a moment what follows, so that a flood of
    /// output does not become one of notes.
    pub fn shed(&mut self, bytes: u64) {
        self.dropped(bytes);
        if !self.trouble.failed {
            let why = Some("it was written faster than it can be kept".to_owned());
            self.trouble = Trouble { pause_until: Some(Instant::now() + SHED_FOR), why, failed: false };
        }
    }

    fn dropped(&mut self, bytes: u64) {
        self.waiting.dropped_bytes += bytes;
        self.news.dropped_bytes += bytes;
    }

    /// A process ended: what it wrote last is a line, even without an end.
    pub fn end_lines(&mut self) {
        self.write_halves(true);
    }

    /// The replica is over: what waits is written now or never. What there is to tell the agent.
    pub fn end(&mut self) -> Option<LogNews> {
        self.end_lines();
        self.trouble.pause_until = None;
        if !self.catch_up() {
            self.news.dropped_bytes += self.waiting.records.len() as u64;
        }
        self.waiting = Waiting::default();
        self.news()
    }

    /// To be called about once a second while [`Log::needs_care`]: what there is to tell the agent, if one is there.
    pub fn care(&mut self, is_heard: bool) -> Option<LogNews> {
        self.write_halves(false);
        if !self.is_paused() {
            self.catch_up();
        }
        if is_heard { self.news() } else { None }
    }

    /// The log that the program before this one wrote, with what it left.
    pub fn resume(directory: &Path, spec: LogSpec, halves: [Vec<u8>; 2], dropped_bytes: u64) -> Self {
        Log { halves, news: LogNews { dropped_bytes, ..LogNews::default() }, ..Log::new(directory, spec) }
    }

    /// What the next program is to go on with: lines that have not ended, and how many bytes were dropped and not told of.
    pub fn leave(&mut self) -> ([Vec<u8>; 2], u64) {
        self.trouble.pause_until = None;
        if !self.catch_up() {
            self.news.dropped_bytes += self.waiting.records.len() as u64;
        }
        (self.halves.clone(), self.news.dropped_bytes)
    }

    fn news(&mut self) -> Option<LogNews> {
        let trouble = self.trouble.why.clone().filter(|_| self.trouble.failed || self.waiting.dropped_bytes > 0);
        if self.news.dropped_bytes == 0 && self.news.note.is_none() && trouble == self.told {
            return None;
        }
        self.told.clone_from(&trouble);
        Some(LogNews { trouble, ..std::mem::take(&mut self.news) })
    }

    /// Whether something waits, for the disk or for the agent.
    pub fn needs_care(&self) -> bool {
        let has_half = self.halves.iter().any(|half| !half.is_empty());
        let has_news = self.news.dropped_bytes > 0 || self.news.note.is_some() || self.told.is_some();
        has_half || has_news || !self.waiting.records.is_empty() || self.waiting.dropped_bytes > 0 || self.trouble.why.is_some()
    }

    fn write_halves(&mut self, is_end: bool) {
        let time = record::now().to_string();
        for (at, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let half = self.halves.get_mut(at).map(std::mem::take).unwrap_or_default();
            if !half.is_empty() {
                let mut one = Vec::with_capacity(half.len() + record::HEAD_BYTES + 1);
                record::write(&mut one, &time, stream, is_end, [&half, b""]);
                self.put(&one, half.len() as u64);
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.trouble.pause_until.is_some_and(|until| Instant::now() < until)
    }

    /// Writes whole records, or keeps them for later, or drops them.
    fn put(&mut self, records: &[u8], text_bytes: u64) {
        if !self.is_paused() && self.catch_up() {
            if let Err(written) = self.write(records) {
                self.waiting.records.extend_from_slice(self.rest_of(records, written));
            }
        } else if self.waiting.dropped_bytes == 0 && self.waiting.records.len() + records.len() <= WAITING_BYTES_MAX {
            self.waiting.records.extend_from_slice(records);
        } else {
            self.dropped(text_bytes);
        }
    }

    /// Writes what waits, and says how much is missing behind it. True when nothing waits any more.
    fn catch_up(&mut self) -> bool {
        let records = std::mem::take(&mut self.waiting.records);
        if !records.is_empty()
            && let Err(written) = self.write(&records)
        {
            self.waiting.records = self.rest_of(&records, written).to_vec();
            return false;
        }
        let dropped_bytes = std::mem::take(&mut self.waiting.dropped_bytes);
        if dropped_bytes > 0 {
            let why = self.trouble.why.as_deref().unwrap_or("the disk did not take them");
            let text = format!("{dropped_bytes} bytes of output were dropped here: {why}");
            let mut note = Vec::new();
            record::write(&mut note, &record::now().to_string(), Stream::Ostler, true, [text.as_bytes(), b""]);
            match self.write(&note) {
                Ok(()) => {}
                // Nothing of it is there: it is said the next time.
                Err(0) => {
                    self.waiting.dropped_bytes = dropped_bytes;
                    return false;
                }
                Err(written) => {
                    self.waiting.records = self.rest_of(&note, written).to_vec();
                    return false;
                }
            }
        }
        if !self.is_paused() {
            self.trouble = Trouble::default();
        }
        true
    }

    /// Writes whole records, a piece at a time. The error is how much was written.
    fn write(&mut self, records: &[u8]) -> Result<(), usize> {
        let mut done = 0;
        while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
            if self.is_paused() {
                return Err(done);
            }
            let piece = piece_of(rest, self.piece_max);
            let began = Instant::now();
            let (written, outcome) = self.files.write(piece, &mut self.news.note);
            done += written;
            let took = began.elapsed();
            match outcome {
                Err(why) => {
                    self.trouble = Trouble { pause_until: Some(Instant::now() + TRY_AGAIN), why: Some(why), failed: true };
                    return Err(done);
                }
                Ok(()) if took > SLOW => {
                    let why = format!("the disk is slow: it took {} ms for {} bytes", took.as_millis(), piece.len());
                    self.trouble = Trouble { pause_until: Some(Instant::now() + (took * 4).min(PAUSE_MAX)), why: Some(why), failed: false };
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What is left to be written. A file that was given up holds a torn record at most: then that one is written again, whole.
    fn rest_of<'a>(&self, records: &'a [u8], written: usize) -> &'a [u8] {
        let from = match self.files.is_open() {
            true => written,
            false => records.get(..written).and_then(|done| memchr::memrchr(b'\n', done)).map_or(0, |end| end + 1),
        };
        records.get(from..).unwrap_or_default()
    }
}

/// As many whole records as fit, and one at least.
fn piece_of(records: &[u8], longest: usize) -> &[u8] {
    if records.len() <= longest {
        return records;
    }
    let fitting = records.get(..longest).and_then(|start| memchr::memrchr(b'\n', start));
    let end = fitting.or_else(|| memchr::memchr(b'\n', records)).map_or(records.len(), |end| end + 1);
    records.get(..end).unwrap_or(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::logs::place;
    use crate::logs::record::Record;

    fn texts(directory: &Path) -> Vec<(Stream, bool, String)> {
        let mut all = Vec::new();
        for number in place::numbers(directory).unwrap() {
            let bytes = fs::read(place::file(directory, number)).unwrap();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record = Record::read(line).unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(line)));
                all.push((record.stream, record.is_end, String::from_utf8_lossy(record.text).into_owned()));
            }
        }
        all
    }

    fn feed(log: &mut Log, stream: Stream, bytes: &[u8]) {
        bytes.chunks(64 * 1024).for_each(|chunk| log.take(stream, chunk, &mut Vec::new()));
    }

    #[test]
    fn lines_of_two_streams_keep_apart_whatever_pieces_they_come_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), LogSpec::default());
        for (stream, bytes) in [
            (Stream::Stdout, &b"one\ntw"[..]),
            (Stream::Stderr, b"oh\n"),
            (Stream::Stdout, b"o\n\n"),
            (Stream::Stderr, b"\x00\xff\r\n"),
            (Stream::Stdout, b"last words"),
        ] {
            feed(&mut log, stream, bytes);
        }
        assert!(log.needs_care());
        assert_eq!(log.care(true), None);
        feed(&mut log, Stream::Stdout, b", cut");
        log.end_lines();
        assert!(!log.needs_care());
        let expected = [
            (Stream::Stdout, true, "one"),
            (Stream::Stderr, true, "oh"),
            (Stream::Stdout, true, "two"),
            (Stream::Stdout, true, ""),
            (Stream::Stderr, true, "\0\u{fffd}\r"),
            (Stream::Stdout, false, "last words"),
            (Stream::Stdout, true, ", cut"),
        ];
        assert_eq!(texts(dir.path()), expected.map(|(stream, is_end, text)| (stream, is_end, text.to_owned())));
    }

    #[test]
    fn a_long_line_is_cut_and_marked_and_one_of_just_the_bound_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), LogSpec::default());
        let max = record::TEXT_BYTES_MAX;
        for length in [max, max + 1, 5 * max + 7] {
            feed(&mut log, Stream::Stdout, &[vec![b'x'; length], b"\n".to_vec()].concat());
        }
        let lengths: Vec<(bool, usize)> = texts(dir.path()).into_iter().map(|(_, is_end, text)| (is_end, text.len())).collect();
        let cut = (false, max);
        assert_eq!(lengths, [(true, max), cut, (true, 1), cut, cut, cut, cut, cut, (true, 7)]);
    }

    #[test]
    fn files_are_as_many_and_as_large_as_the_app_says() {
        let dir = tempfile::tempdir().unwrap();
        for (max_bytes, line) in [(4_096, 0), (4_096, 5_000), (100_000, 80), (300_000, 40_000)] {
            let directory = dir.path().join(format!("{max_bytes}-{line}"));
            let mut log = Log::new(&directory, LogSpec { max_bytes, files: 3 });
            let line = [vec![b'y'; line], b"\n".to_vec()].concat();
            for _ in 0..2_000 {
                feed(&mut log, Stream::Stderr, &line.repeat(4_096 / line.len() + 1));
                let numbers = place::numbers(&directory).unwrap();
                assert!(numbers.len() <= 3);
                let sizes = numbers.iter().map(|number| fs::metadata(place::file(&directory, *number)).unwrap().len());
                assert!(sizes.max().unwrap_or(0) <= max_bytes);
                if *numbers.first().unwrap_or(&0) > 4 {
                    break;
                }
            }
            assert!(place::numbers(&directory).unwrap().first().unwrap() > &4, "it went round");
            assert!(!texts(&directory).is_empty());
        }
    }

    #[test]
    fn the_next_guardian_goes_on_behind_a_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        feed(&mut Log::new(dir.path(), LogSpec::default()), Stream::Stdout, b"one\n");
        let file = place::file(dir.path(), 1);
        let torn = [fs::read(&file).unwrap(), b"2026-03-01T12:00:00.000000Z std".to_vec()].concat();
        fs::write(&file, torn).unwrap();
        feed(&mut Log::new(dir.path(), LogSpec::default()), Stream::Stdout, b"two\n");
        let lines = fs::read_to_string(&file).unwrap();
        assert!(lines.lines().count() == 3 && lines.ends_with(" stdout F two\n"), "{lines}");
        assert_eq!(place::numbers(dir.path()).unwrap(), [1]);
    }

    #[test]
    fn a_full_disk_costs_output_which_is_counted_and_told_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = place::file(dir.path(), 1);
        symlink("/dev/full", &file).unwrap();
        let mut log = Log::new(dir.path(), LogSpec::default());
        let line = [vec![b'z'; 999], b"\n".to_vec()].concat();
        feed(&mut log, Stream::Stdout, b"first\n");
        (0..1_000).for_each(|_| feed(&mut log, Stream::Stdout, &line));
        assert!(log.waiting.records.len() <= WAITING_BYTES_MAX);
        let news = log.care(true).unwrap();
        assert!(news.trouble.as_deref().unwrap().contains("No space left on device"), "{news:?}");
        assert!(news.dropped_bytes > 800_000 && news.dropped_bytes.is_multiple_of(1_000));
        assert_eq!(log.care(true), None);
        fs::remove_file(&file).unwrap();
        // The pause is over.
        log.trouble.pause_until = None;
        log.files.look_again();
        assert!(log.care(true).unwrap().trouble.is_none());
        feed(&mut log, Stream::Stdout, b"after\n");
        let texts = texts(dir.path());
        let notes: Vec<usize> = (0..texts.len()).filter(|at| texts[*at].0 == Stream::Ostler).collect();
        let said = format!("{} bytes of output were dropped here: cannot write", news.dropped_bytes);
        assert!(texts[texts.len() - 2].2.starts_with(&said), "{:?}", texts[texts.len() - 2]);
        assert_eq!(texts.last().unwrap().2, "after");
        assert!(texts.iter().any(|text| text.2 == "first") && notes.len() <= 2, "{notes:?}");
        assert!(!log.needs_care());
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("app");
        fs::write(&directory, "").unwrap();
        let mut log = Log::new(&directory, LogSpec::default());
        feed(&mut log, Stream::Stdout, b"one\n");
        let trouble = log.care(true).unwrap().trouble.unwrap();
        assert!(trouble.contains(directory.to_str().unwrap()) && !trouble.contains('\n'), "{trouble}");
        fs::remove_file(&directory).unwrap();
        log.trouble.pause_until = None;
        assert_eq!(log.care(true), Some(LogNews::default()));
        assert_eq!(texts(&directory), [(Stream::Stdout, true, "one".to_owned())]);
    }

    #[test]
    fn a_file_that_somebody_removed_or_cut_is_noticed_and_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), LogSpec::default());
        feed(&mut log, Stream::Stdout, b"one\n");
        fs::remove_file(place::file(dir.path(), 1)).unwrap();
        log.files.look_again();
        feed(&mut log, Stream::Stdout, b"two\n");
        assert!(log.care(true).unwrap().note.unwrap().contains("removed"));
        let seen = texts(dir.path());
        assert!(seen[0].0 == Stream::Ostler && seen[0].2.contains("000001.log") && seen[1].2 == "two", "{seen:?}");
        fs::write(place::file(dir.path(), 2), "").unwrap();
        log.files.look_again();
        feed(&mut log, Stream::Stdout, b"three\n");
        let seen = texts(dir.path());
        assert!(seen[0].2.contains("cut short") && seen[1].2 == "three", "{seen:?}");
        fs::remove_dir_all(dir.path()).unwrap();
        log.files.look_again();
        feed(&mut log, Stream::Stdout, b"four\n");
        assert_eq!(texts(dir.path()).last().unwrap().2, "four");
    }

    #[test]
    fn the_rest_of_a_record_goes_with_the_file_that_it_was_begun_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), LogSpec::default());
        feed(&mut log, Stream::Stdout, b"one\n");
        // As if the disk had been full in the middle of a record, until somebody removed the file.
        let mut whole = Vec::new();
        record::write(&mut whole, &record::now().to_string(), Stream::Stdout, true, [b"three", b""]);
        log.waiting.records = [b"a torn record\n".to_vec(), whole].concat();
        fs::remove_file(place::file(dir.path(), 1)).unwrap();
        log.files.look_again();
        assert!(log.catch_up());
        let seen = texts(dir.path());
        assert!(seen.len() == 2 && seen[0].0 == Stream::Ostler && seen[1].2 == "three", "{seen:?}");
    }

    #[test]
    fn a_replica_that_writes_nothing_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("app");
        assert_eq!(Log::new(&directory, LogSpec::default()).end(), None);
        assert!(!directory.exists());
    }

    #[test]
    fn a_piece_holds_whole_records() {
        for (records, longest, piece) in [("a\nb\n", 9, "a\nb\n"), ("a\nb\n", 3, "a\n"), ("abc\nd\n", 2, "abc\n"), ("abc", 2, "abc")] {
            assert_eq!(piece_of(records.as_bytes(), longest), piece.as_bytes(), "{records:?}");
        }
    }
}
