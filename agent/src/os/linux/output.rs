//! What a replica writes: drained from its pipes into files, rotated once at a fixed size.
//!
//! The pipes have names in the replica's directory and are opened for reading and writing at both ends: so a writer never gets SIGPIPE,
//! and a reader never sees an end. A full disk loses output; it never blocks the writer.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::last_lines::LastLines;
use crate::logs::{ROTATE_AT_BYTES, Stream};

/// The most that is read from a pipe at the end of a process: as much as the pipe can hold, and then what its heirs write meanwhile.
const LAST_READS_MAX: usize = 64;

/// Both streams of one replica.
#[derive(Debug)]
pub struct Output {
    streams: [Drain; 2],
}

impl Output {
    /// Makes the replica's directory and its pipes, and opens them for reading.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
        Ok(Output { streams: [Drain::open(directory, Stream::Stdout)?, Drain::open(directory, Stream::Stderr)?] })
    }

    /// The ends that a process writes to: stdout, stderr.
    pub fn writers(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let [stdout, stderr] = &self.streams;
        Ok((stdout.writer()?, stderr.writer()?))
    }

    /// What there is to wait on, with the number that [`Output::drain`] takes.
    pub fn readers(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.streams.iter().enumerate().map(|(at, drain)| (at, drain.pipe.as_fd()))
    }

    /// Moves what one stream holds, at most a buffer of it.
    pub fn drain(&mut self, at: usize, buffer: &mut [u8]) {
        if let Some(drain) = self.streams.get_mut(at) {
            drain.once(buffer);
        }
    }

    /// Moves all that both streams hold: a process has ended.
    pub fn drain_all(&mut self, buffer: &mut [u8]) {
        for drain in &mut self.streams {
            for _ in 0..LAST_READS_MAX {
                if !drain.once(buffer) {
                    break;
                }
            }
        }
    }

    /// Another process begins: what the one before it said is no longer the last word.
    pub fn begin(&mut self) {
        for drain in &mut self.streams {
            drain.last = LastLines::default();
        }
    }

    /// The last lines that were written: on stderr if there were any, else on stdout.
    pub fn last_lines(&self) -> Vec<String> {
        let [stdout, stderr] = &self.streams;
        let lines = stderr.last.texts();
        if lines.is_empty() { stdout.last.texts() } else { lines }
    }
}

#[derive(Debug)]
struct Drain {
    pipe: File,
    pipe_path: PathBuf,
    log: Option<File>,
    log_path: PathBuf,
    old_path: PathBuf,
    written: u64,
    last: LastLines,
}

impl Drain {
    fn open(directory: &Path, stream: Stream) -> io::Result<Self> {
        let pipe_path = directory.join(stream.name());
        match mkfifoat(CWD, &pipe_path, Mode::from_raw_mode(0o600)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let pipe = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe_path)?;
        let log_path = stream.log_in(directory);
        let log = open_log(&log_path)?;
        let written = log.metadata()?.len();
        Ok(Drain { pipe, pipe_path, log: Some(log), log_path, old_path: stream.old_log_in(directory), written, last: LastLines::default() })
    }

    fn writer(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.pipe_path)?.into())
    }

    /// One read. False when there was nothing.
    fn once(&mut self, buffer: &mut [u8]) -> bool {
        let chunk = match (&self.pipe).read(buffer) {
            Ok(n) if n > 0 => &buffer[..n],
            Err(e) if e.kind() == ErrorKind::Interrupted => return true,
            // Empty; nothing else can happen to a pipe that this process holds open itself.
            _ => return false,
        };
        self.last.feed(chunk);
        if self.written >= ROTATE_AT_BYTES {
            self.log = fs::rename(&self.log_path, &self.old_path).and_then(|()| open_log(&self.log_path)).ok();
            self.written = 0;
        }
        if let Some(log) = &mut self.log {
            // A full disk loses output; the replica runs on.
            let _ = log.write_all(chunk);
        }
        self.written = self.written.saturating_add(chunk.len() as u64);
        true
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_flood_is_kept_in_two_files_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("replica");
        let mut output = Output::open(&directory).unwrap();
        let (stdout, _stderr) = output.writers().unwrap();
        let mut stdout = File::from(stdout);
        let mut buffer = vec![0; 64 * 1024];
        let line = [b"y".repeat(32 * 1024 - 1), b"\n".to_vec()].concat();
        for _ in 0..3 * ROTATE_AT_BYTES / line.len() as u64 {
            stdout.write_all(&line).unwrap();
            output.drain_all(&mut buffer);
        }
        let size = |name| fs::metadata(directory.join(name)).unwrap().len();
        assert!(size("stdout.log") <= ROTATE_AT_BYTES + 64 * 1024);
        assert!(size("stdout.log.1") <= ROTATE_AT_BYTES + 64 * 1024 && size("stdout.log.1") >= ROTATE_AT_BYTES);
        assert!(output.last_lines().pop().unwrap().starts_with("yyy"));
    }
}
