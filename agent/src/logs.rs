//! What a replica wrote: the files that its guardian fills, read from their end, and followed.
//!
//! stdout and stderr are files of their own with no times in them, so both together are not in the order in which they were written:
//! first what stdout holds, then what stderr holds, then what comes. Where they are mixed, whole lines are.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::os;

/// A file that has grown to this is put aside, in place of the one before it.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub const ROTATE_AT_BYTES: u64 = 10 * 1024 * 1024;
/// The most lines that can be asked for.
pub const TAIL_LINES_MAX: u64 = 1_000_000;
const BLOCK_BYTES: usize = 16 * 1024;
/// A longer line is sent in pieces.
const PARTIAL_BYTES_MAX: usize = 64 * 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A reader that takes nothing for so long is let go.
const READER_DEADLINE: Duration = Duration::from_secs(30);

/// One of the two streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name, which is the name of its pipe.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// The file that it is drained to.
    pub fn log_in(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.log", self.name()))
    }

    /// The file that was put aside.
    pub fn old_log_in(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.log.1", self.name()))
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// So many last lines of each stream; all that there is without it.
    pub tail: Option<u64>,
    /// Go on with what comes, until the replica is gone.
    pub follow: bool,
    /// Which streams.
    pub streams: Vec<Stream>,
}

impl Query {
    /// Reads `tail=N&follow=true&stream=stdout`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Query { tail: None, follow: false, streams: vec![Stream::Stdout, Stream::Stderr] };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("tail", text) => {
                    let lines = text.parse().ok().filter(|lines| *lines <= TAIL_LINES_MAX);
                    parsed.tail = Some(lines.ok_or(format!("tail must be a whole number of lines, at most {TAIL_LINES_MAX}"))?);
                }
                ("follow", "true") => parsed.follow = true,
                ("follow", "false") => parsed.follow = false,
                ("follow", _) => return Err("follow must be true or false".to_owned()),
                ("stream", "stdout") => parsed.streams = vec![Stream::Stdout],
                ("stream", "stderr") => parsed.streams = vec![Stream::Stderr],
                ("stream", _) => return Err("stream must be stdout or stderr; leave it out for both".to_owned()),
                _ => return Err("logs take tail=N, follow=true and stream=stdout or stderr, nothing else".to_owned()),
            }
        }
        Ok(parsed)
    }
}

/// Sends what is asked for, until all is sent, the replica is gone, or the reader is.
pub async fn send(directory: PathBuf, query: Query, chunks: mpsc::Sender<Bytes>) {
    let mut sources = Vec::new();
    for stream in &query.streams {
        match Source::open(&directory, *stream, &query) {
            Ok(source) => sources.extend(source),
            Err(e) => tracing::warn!("cannot read {} in {}: {e}", stream.name(), directory.display()),
        }
    }
    loop {
        for source in &mut sources {
            while let Some(chunk) = source.next() {
                if !chunk.is_empty() && !matches!(timeout(READER_DEADLINE, chunks.send(chunk)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
        let ended = !query.follow || sources.is_empty() || sources.iter().any(|source| source.is_over);
        if ended {
            for source in &mut sources {
                let rest = Bytes::from(std::mem::take(&mut source.partial));
                if !rest.is_empty() && !matches!(timeout(READER_DEADLINE, chunks.send(rest)).await, Ok(Ok(()))) {
                    return;
                }
            }
            return;
        }
        tokio::select! {
            biased;
            () = chunks.closed() => return,
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}

/// One stream of one replica.
struct Source {
    /// What is read now, and what comes after it.
    files: Vec<File>,
    path: PathBuf,
    partial: Vec<u8>,
    /// What is left of the newest file as it was when this began; `None` when what comes is wanted as well.
    left: Option<u64>,
    /// The replica is gone.
    is_over: bool,
}

impl Source {
    /// Opens a stream so that what is asked for is ahead. `None` when there is no such file.
    fn open(directory: &Path, stream: Stream, query: &Query) -> io::Result<Option<Self>> {
        let open = |path: PathBuf| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        let path = stream.log_in(directory);
        // The newest first.
        let mut files: Vec<File> = [open(path.clone())?, open(stream.old_log_in(directory))?].into_iter().flatten().collect();
        if files.is_empty() {
            return Ok(None);
        }
        // One that is written to grows while this is read.
        let lengths = files.iter().map(|file| Ok(file.metadata()?.len())).collect::<io::Result<Vec<u64>>>()?;
        if let Some(mut lines) = query.tail {
            let mut keep = 0;
            for (file, length) in files.iter_mut().zip(&lengths) {
                keep += 1;
                if seek_to_last(file, *length, &mut lines)? {
                    break;
                }
            }
            files.truncate(keep);
        }
        let left = match (files.first_mut(), lengths.first()) {
            (Some(newest), Some(length)) if !query.follow => Some(length.saturating_sub(newest.stream_position()?)),
            _ => None,
        };
        Ok(Some(Source { files, path, partial: Vec::new(), left, is_over: false }))
    }

    /// The next piece, of whole lines if they are not too long, and possibly empty; `None` when there is nothing more now.
    fn next(&mut self) -> Option<Bytes> {
        let is_newest = self.files.len() == 1;
        let file = self.files.last_mut()?;
        let size = match self.left {
            Some(left) if is_newest => usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES),
            _ => BLOCK_BYTES,
        };
        let mut block = vec![0; size];
        let read = match file.read(&mut block) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Some(Bytes::new()),
            Err(_) => 0,
        };
        if read == 0 {
            return self.next_file().then(Bytes::new);
        }
        if let Some(left) = self.left.as_mut().filter(|_| is_newest) {
            *left -= read as u64;
        }
        self.partial.extend_from_slice(&block[..read]);
        let whole = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.partial.len() >= PARTIAL_BYTES_MAX => self.partial.len(),
            None => 0,
        };
        let rest = self.partial.split_off(whole);
        Some(Bytes::from(std::mem::replace(&mut self.partial, rest)))
    }

    /// This file is read to its end. True when another follows it.
    fn next_file(&mut self) -> bool {
        if self.files.len() > 1 {
            self.files.pop();
            return true;
        }
        if self.left.is_some() {
            return false;
        }
        let Some(current) = self.files.last_mut() else { return false };
        match os::is_same_file(current, &self.path) {
            Ok(true) => false,
            // It was put aside.
            Ok(false) => match File::open(&self.path) {
                Ok(new) => {
                    *current = new;
                    true
                }
                Err(_) => false,
            },
            Err(_) => {
                self.is_over = true;
                false
            }
        }
    }
}

/// Moves to where the last `lines` lines of the first `length` bytes of a file begin. False when it has fewer: then it stands at its beginning, and `lines` is what is
/// still missing.
fn seek_to_last(file: &mut File, length: u64, lines: &mut u64) -> io::Result<bool> {
    let mut end = length;
    let mut block = vec![0; BLOCK_BYTES];
    if *lines == 0 {
        file.seek(SeekFrom::Start(length))?;
        return Ok(true);
    }
    let mut seen = 0;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES as u64);
        let size = usize::try_from(end - begin).unwrap_or(BLOCK_BYTES);
        let block = &mut block[..size];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + at as u64 + 1;
            // The end of the last line begins no line.
            if after == length {
                continue;
            }
            seen += 1;
            if seen == *lines {
                file.seek(SeekFrom::Start(after))?;
                return Ok(true);
            }
        }
        end = begin;
    }
    file.seek(SeekFrom::Start(0))?;
    // What stands at the beginning of the file is a line as well, if there is anything.
    *lines -= (seen + u64::from(length > 0)).min(*lines);
    Ok(*lines == 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::io::Write;

    use super::*;

    async fn read(directory: &Path, query: &str) -> String {
        let (sender, mut receiver) = mpsc::channel(4);
        let task = tokio::spawn(send(directory.to_owned(), Query::parse(query).unwrap(), sender));
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        task.await.unwrap();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn the_last_lines_of_both_streams_over_two_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stdout.log.1"), "1\n2\n").unwrap();
        fs::write(dir.path().join("stdout.log"), "3\n4\n").unwrap();
        fs::write(dir.path().join("stderr.log"), "oh\nno").unwrap();
        for (query, expected) in [
            ("", "1\n2\n3\n4\noh\nno"),
            ("tail=0", ""),
            ("tail=1", "4\nno"),
            ("tail=2&stream=stdout", "3\n4\n"),
            ("tail=3&stream=stdout", "2\n3\n4\n"),
            ("tail=4&stream=stdout", "1\n2\n3\n4\n"),
            ("tail=900&stream=stdout", "1\n2\n3\n4\n"),
            ("stream=stderr", "oh\nno"),
        ] {
            assert_eq!(read(dir.path(), query).await, expected, "{query}");
        }
        assert_eq!(read(&dir.path().join("none"), "follow=true").await, "");
    }

    #[tokio::test]
    async fn the_tail_of_a_large_file() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        fs::write(dir.path().join("stdout.log"), &lines).unwrap();
        let tail = read(dir.path(), "tail=10000").await;
        assert!(tail.starts_with("line 10000\n") && tail.ends_with("line 19999\n"));
        assert_eq!(read(dir.path(), "").await, lines);
    }

    #[tokio::test]
    async fn a_follower_goes_on_over_a_rotation_and_ends_with_the_replica() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("stdout.log");
        fs::write(&log, "one\n").unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let query = Query::parse("follow=true&stream=stdout").unwrap();
        let task = tokio::spawn(send(dir.path().to_owned(), query, sender));
        assert_eq!(receiver.recv().await.unwrap(), "one\n");
        let mut writer = File::options().append(true).open(&log).unwrap();
        writer.write_all(b"two\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two\n");
        fs::rename(&log, dir.path().join("stdout.log.1")).unwrap();
        writer.write_all(b"three\n").unwrap();
        fs::write(&log, "four\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "three\n");
        assert_eq!(receiver.recv().await.unwrap(), "four\n");
        fs::remove_file(&log).unwrap();
        assert_eq!(receiver.recv().await, None);
        task.await.unwrap();
    }

    #[test]
    fn a_query_that_is_not_understood_is_refused() {
        for bad in ["tail=-1", "tail=x", "tail=1.5", "tail=99999999999", "follow=yes", "follow", "stream=x", "tial=1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
