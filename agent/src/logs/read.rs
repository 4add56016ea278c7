//! Reading the log of a replica: from its end or from a time on, over files that are rotated meanwhile, and followed.
//!
//! Both streams lie in the order in which they were written. A line that was cut for its length comes out whole; where another stream's line fell
//! into a line that had not ended, that line is broken.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cluster::logs::{Query, Stream};
use cluster::timestamp::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::place;
use super::record::{self, HEAD_BYTES, Record, TEXT_BYTES_MAX};

const BLOCK_BYTES: usize = 64 * 1024;
/// Nothing that a guardian wrote is longer; what is longer is taken in pieces.
const LINE_BYTES_MAX: usize = HEAD_BYTES + TEXT_BYTES_MAX;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A reader that takes nothing for so long is let go.
const READER_DEADLINE: Duration = Duration::from_secs(30);

/// What is read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it lies.
    pub directory: PathBuf,
    /// Nothing will be added: the replica is gone.
    pub gone: CancellationToken,
}

/// Sends what is asked for, until all is sent, the replica is gone, or the reader is.
pub async fn send(source: Source, query: Query, chunks: mpsc::Sender<Bytes>) {
    let directory = source.directory.clone();
    // It may have to go back through all of it.
    let begun = tokio::task::spawn_blocking(move || Reader::begin(directory, query, record::now())).await;
    let mut reader = match begun {
        Ok(Ok(reader)) => reader,
        Ok(Err(e)) => {
            tracing::warn!("cannot read the log in {}: {e}", source.directory.display());
            return;
        }
        Err(_) => return,
    };
    loop {
        // Asked before the last look, so that what was written before its end is seen.
        let is_gone = source.gone.is_cancelled();
        while let Some(lines) = reader.next() {
            if lines.is_empty() {
                tokio::task::yield_now().await;
            } else if !matches!(timeout(READER_DEADLINE, chunks.send(lines)).await, Ok(Ok(()))) {
                return;
            }
        }
        if !query.follow || is_gone {
            return;
        }
        tokio::select! {
            biased;
            () = chunks.closed() => return,
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}

struct Reader {
    directory: PathBuf,
    query: Query,
    /// The file that is read, and its number; 0 before the first.
    file: Option<File>,
    number: u64,
    position: u64,
    /// The number of the last file and how much of it is wanted; `None` when what comes is wanted as well.
    until: Option<(u64, u64)>,
    /// What was read of a line.
    rest: Vec<u8>,
    /// The time before which nothing is wanted, as it stands in the files, until something newer was seen.
    since: Option<String>,
    /// The stream whose line was sent in part.
    unended: Option<Stream>,
}

impl Reader {
    /// Stands where what is asked for begins.
    fn begin(directory: PathBuf, query: Query, now: Timestamp) -> io::Result<Self> {
        let numbers = place::numbers(&directory)?;
        let since = query.since.map(|since| since.moment(now));
        let (number, position) = match (query.tail, since) {
            (Some(lines), _) => start_of_last(&directory, &numbers, lines, query.stream)?,
            (None, Some(moment)) => (first_since(&directory, &numbers, moment), 0),
            (None, None) => (numbers.first().copied().unwrap_or(0), 0),
        };
        let last = numbers.last().copied().unwrap_or(0);
        let length = place::file(&directory, last).metadata().map_or(0, |meta| meta.len());
        let mut reader = Reader {
            directory,
            query,
            file: None,
            number,
            position: 0,
            until: (!query.follow).then_some((last, length)),
            rest: Vec::new(),
            since: since.map(|moment| moment.to_string()),
            unended: None,
        };
        if number > 0 && reader.open(number).is_ok() && position > 0 {
            reader.seek(position)?;
        }
        Ok(reader)
    }

    fn open(&mut self, number: u64) -> io::Result<()> {
        self.file = Some(File::open(place::file(&self.directory, number))?);
        self.number = number;
        self.position = 0;
        self.rest.clear();
        Ok(())
    }

    fn seek(&mut self, position: u64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(position))?;
            self.position = position;
        }
        Ok(())
    }

    /// The next lines, possibly none of what was read; `None` when there is nothing more now.
    fn next(&mut self) -> Option<Bytes> {
        if let Some(lines) = self.read() {
            return Some(lines);
        }
        if self.until.is_some_and(|(last, _)| self.number >= last) {
            return None;
        }
        let next = place::numbers(&self.directory).ok()?.into_iter().find(|number| *number > self.number)?;
        // The file before it gets nothing more, but it may have got something since it was read.
        if let Some(lines) = self.read() {
            return Some(lines);
        }
        self.open(next).ok()?;
        Some(Bytes::new())
    }

    fn read(&mut self) -> Option<Bytes> {
        let left = self.until.filter(|(last, _)| *last == self.number).map(|(_, length)| length.saturating_sub(self.position));
        let size = left.map_or(BLOCK_BYTES, |left| usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES));
        let file = self.file.as_mut().filter(|_| size > 0)?;
        let mut block = vec![0; size];
        let n = match file.read(&mut block) {
            Ok(0) if file.metadata().is_ok_and(|meta| meta.len() < self.position) => {
                // Somebody cut it short.
                self.rest.clear();
                self.seek(0).ok()?;
                return Some(Bytes::new());
            }
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => return Some(Bytes::new()),
            Err(_) => 0,
        };
        if n == 0 {
            return None;
        }
        self.position += n as u64;
        self.rest.extend_from_slice(block.get(..n)?);
        Some(self.lines())
    }

    /// What is shown of the whole lines that were read.
    fn lines(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        let mut shown = Vec::with_capacity(rest.len());
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &rest) {
            self.show(rest.get(from..end).unwrap_or_default(), &mut shown);
            from = end + 1;
        }
        let left = rest.get(from..).unwrap_or_default();
        if left.len() > LINE_BYTES_MAX {
            self.show(left, &mut shown);
        } else {
            self.rest = left.to_vec();
        }
        Bytes::from(shown)
    }

    fn show(&mut self, line: &[u8], shown: &mut Vec<u8>) {
        let Some(record) = Record::read(line) else {
            // The rest of one that was torn, or not ours.
            if self.query.stream.is_none() && self.since.is_none() {
                shown.extend_from_slice(line);
                shown.push(b'\n');
                self.unended = None;
            }
            return;
        };
        if self.query.stream.is_some_and(|stream| stream != record.stream) {
            return;
        }
        if self.since.as_ref().is_some_and(|since| record.time < since.as_bytes()) {
            return;
        }
        self.since = None;
        if self.unended != Some(record.stream) {
            if self.unended.is_some() {
                shown.push(b'\n');
            }
            if self.query.timestamps {
                shown.extend_from_slice(record.time);
                shown.extend_from_slice(format!(" {} ", record.stream.name()).as_bytes());
            } else if record.stream == Stream::Ostler {
                shown.extend_from_slice(b"[ostler] ");
            }
        }
        shown.extend_from_slice(record.text);
        if record.is_end {
            shown.push(b'\n');
        }
        self.unended = (!record.is_end).then_some(record.stream);
    }
}

/// The first file that was written to since then, or the newest.
fn first_since(directory: &Path, numbers: &[u64], moment: Timestamp) -> u64 {
    let moment = UNIX_EPOCH.checked_add(Duration::from_micros(moment.0)).unwrap_or(SystemTime::now());
    let is_old = |number: &&u64| place::file(directory, **number).metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at < moment);
    numbers.iter().find(|number| !is_old(number)).or(numbers.last()).copied().unwrap_or(0)
}

/// The file and the place in it where the last `lines` lines begin.
fn start_of_last(directory: &Path, numbers: &[u64], lines: u64, stream: Option<Stream>) -> io::Result<(u64, u64)> {
    let Some(newest) = numbers.last() else { return Ok((0, 0)) };
    if lines == 0 {
        return Ok((*newest, place::file(directory, *newest).metadata()?.len()));
    }
    let mut seen = 0;
    let mut is_last = true;
    for number in numbers.iter().rev() {
        let mut file = match File::open(place::file(directory, *number)) {
            Ok(file) => file,
            // Rotated away meanwhile: what is before it is gone as well.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok((*number, 0)),
            Err(e) => return Err(e),
        };
        let begins = backwards(&mut file, |line| {
            let record = Record::read(line);
            if stream.is_some_and(|stream| record.is_none_or(|record| record.stream != stream)) {
                return false;
            }
            // A line that has not ended counts as one.
            let is_end = record.is_none_or(|record| record.is_end);
            if is_last && !is_end {
                seen += 1;
            }
            is_last = false;
            if is_end && seen == lines {
                return true;
            }
            seen += u64::from(is_end);
            false
        })?;
        if let Some(position) = begins {
            return Ok((*number, position));
        }
    }
    Ok((numbers.first().copied().unwrap_or(0), 0))
}

/// Goes through the whole lines of a file from its end, until `is_it`: then the place behind that line.
fn backwards(file: &mut File, mut is_it: impl FnMut(&[u8]) -> bool) -> io::Result<Option<u64>> {
    let mut begin = file.metadata()?.len();
    // From `begin` on: the end of what was read before, of which the beginning is not known.
    let mut carried: Vec<u8> = Vec::new();
    // How much of it was left out in front of what was carried.
    let mut left_out = 0;
    while begin > 0 {
        let size = begin.min(BLOCK_BYTES as u64);
        begin -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or(BLOCK_BYTES)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block)?;
        let own = block.len();
        block.append(&mut carried);
        // Each line ends before `end`, which is behind its end of line.
        let mut end = block.len();
        while let Some(line_end) = block.get(..end).and_then(|block| memchr::memrchr(b'\n', block)) {
            let start = block.get(..line_end).and_then(|block| memchr::memrchr(b'\n', block)).map(|at| at + 1);
            match start.or((begin == 0).then_some(0)) {
                Some(start) => {
                    if is_it(block.get(start..line_end).unwrap_or_default()) {
                        let left_out = if line_end < own { 0 } else { left_out };
                        return Ok(Some(begin + (line_end + left_out) as u64 + 1));
                    }
                    end = start;
                }
                None => break,
            }
        }
        block.truncate(end);
        if end < own {
            left_out = 0;
        }
        // A line that is no record may have any length: of such a one the end will do.
        let too_much = block.len().saturating_sub(LINE_BYTES_MAX);
        left_out += too_much;
        carried = block.split_off(too_much);
    }
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::io::Write as _;

    use super::*;

    /// A file whose records were written a second apart, from second `from` of 2026 on: `(stream, mark, text)`.
    fn file(directory: &Path, number: u64, from: u32, records: &[(&str, char, &str)]) {
        let line = |(at, (stream, mark, text)): (usize, &(&str, char, &str))| {
            format!("2026-01-01T00:00:{:02}.000000Z {stream} {mark} {text}\n", from as usize + at)
        };
        fs::write(place::file(directory, number), records.iter().enumerate().map(line).collect::<String>()).unwrap();
    }

    async fn read_all(directory: &Path, query: &str) -> String {
        let (sender, mut receiver) = mpsc::channel(4);
        let source = Source { directory: directory.to_owned(), gone: CancellationToken::new() };
        let task = tokio::spawn(send(source, Query::parse(query).unwrap(), sender));
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        task.await.unwrap();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn the_last_lines_over_several_files_by_stream_and_by_time() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), 3, 0, &[("stdout", 'F', "1"), ("stderr", 'F', "oh"), ("stdout", 'F', "2")]);
        file(dir.path(), 4, 3, &[("stdout", 'P', "3, "), ("stdout", 'F', "long"), ("stderr", 'F', "no")]);
        file(dir.path(), 12, 6, &[("ostler", 'F', "7 bytes were dropped"), ("stdout", 'F', "4"), ("stdout", 'P', "5 with no end")]);
        let all = "1\noh\n2\n3, long\nno\n[ostler] 7 bytes were dropped\n4\n5 with no end";
        for (query, expected) in [
            ("", all),
            ("tail=0", ""),
            ("tail=1", "5 with no end"),
            ("tail=2", "4\n5 with no end"),
            ("tail=5", "3, long\nno\n[ostler] 7 bytes were dropped\n4\n5 with no end"),
            ("tail=8", all),
            ("tail=900", all),
            ("tail=3&stream=stdout", "3, long\n4\n5 with no end"),
            ("stream=stderr", "oh\nno\n"),
            ("tail=1&stream=stderr", "no\n"),
            ("since=2026-01-01T00:00:05Z", "no\n[ostler] 7 bytes were dropped\n4\n5 with no end"),
            ("since=2026-01-01T00:00:06.5Z&tail=3", "4\n5 with no end"),
            ("since=2027-01-01T00:00:00Z", ""),
            ("tail=1&timestamps", "2026-01-01T00:00:08.000000Z stdout 5 with no end"),
            ("tail=1&stream=stderr&timestamps", "2026-01-01T00:00:05.000000Z stderr no\n"),
        ] {
            assert_eq!(read_all(dir.path(), query).await, expected, "{query}");
        }
        assert_eq!(read_all(&dir.path().join("none"), "").await, "");
    }

    #[tokio::test]
    async fn what_is_torn_or_no_record_breaks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let good = "2026-01-01T00:00:00.000000Z stdout F good\n";
        let long = "x".repeat(300_000);
        fs::write(place::file(dir.path(), 1), format!("rn line\n{good}2026-01-01T00:00:00.00\n{long}\n{good}")).unwrap();
        fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
        let all = read_all(dir.path(), "").await;
        assert!(all.starts_with("rn line\ngood\n2026-01-01T00:00:00.00\nxxx") && all.ends_with("x\ngood\n"), "{} bytes", all.len());
        let tails = [(1, 0, "good\n"), (2, 300_000, "xxx"), (3, 300_000, "2026-01-01T00:00:00.00\nxxx"), (4, 300_000, "good\n2026")];
        for (lines, length, begin) in tails {
            let tail = read_all(dir.path(), &format!("tail={lines}")).await;
            assert!(tail.starts_with(begin) && tail.matches('x').count() == length, "{lines}: {} bytes", tail.len());
        }
        assert_eq!(read_all(dir.path(), "stream=stdout").await, "good\ngood\n");
        assert!(read_all(dir.path(), "tail=5").await.ends_with("good\n"));
    }

    #[tokio::test]
    async fn lines_of_another_stream_break_one_that_has_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), 1, 0, &[("stdout", 'P', "half"), ("stderr", 'F', "oh"), ("stdout", 'F', " done")]);
        assert_eq!(read_all(dir.path(), "").await, "half\noh\n done\n");
        assert_eq!(read_all(dir.path(), "stream=stdout").await, "half done\n");
    }

    #[tokio::test]
    async fn the_tail_of_a_large_file() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (0..20_000).map(|n| format!("2026-01-01T00:00:00.000000Z stdout F line {n}\n")).collect();
        fs::write(place::file(dir.path(), 1), &lines).unwrap();
        let tail = read_all(dir.path(), "tail=10000").await;
        assert!(tail.starts_with("line 10000\n") && tail.ends_with("line 19999\n") && tail.lines().count() == 10_000);
    }

    #[tokio::test]
    async fn a_follower_waits_for_the_first_line_goes_over_files_that_vanish_and_ends_with_the_replica() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("app");
        let (sender, mut receiver) = mpsc::channel(4);
        let gone = CancellationToken::new();
        let source = Source { directory: directory.clone(), gone: gone.clone() };
        let task = tokio::spawn(send(source, Query::parse("follow=true").unwrap(), sender));
        fs::create_dir(&directory).unwrap();
        file(&directory, 1, 0, &[("stdout", 'F', "one")]);
        assert_eq!(receiver.recv().await.unwrap(), "one\n");
        // The end of the first, and two that follow, the first of which is gone already.
        let mut first = File::options().append(true).open(place::file(&directory, 1)).unwrap();
        first.write_all(b"2026-01-01T00:00:01.000000Z stdout F two\n2026-01-01T00:00:01.0").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two\n");
        file(&directory, 3, 5, &[("stdout", 'F', "three")]);
        fs::remove_file(place::file(&directory, 1)).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "three\n");
        // Somebody cuts it short.
        fs::write(place::file(&directory, 3), "").unwrap();
        let mut third = File::options().append(true).open(place::file(&directory, 3)).unwrap();
        third.write_all(b"2026-01-01T00:00:09.000000Z stderr F 4\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "4\n");
        gone.cancel();
        assert_eq!(receiver.recv().await, None);
        task.await.unwrap();
    }
}
