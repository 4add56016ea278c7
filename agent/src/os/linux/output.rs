//! What a replica writes: drained from its pipes into its log.
//!
//! The pipes have names in the replica's directory and are opened for reading and writing at both ends: so a writer never gets SIGPIPE,
//! and a reader never sees an end. Whatever becomes of the log, the pipes are emptied: it never blocks the writer.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::logs::{LogSpec, Stream};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::pipe::fcntl_setpipe_size;
use serde::{Deserialize, Serialize};

use super::last_lines::LastLines;
use super::log::Log;
use crate::guardian::protocol::LogNews;

/// The most that is read from a pipe at the end of a process: as much as the pipe can hold, and then what its heirs write meanwhile.
const LAST_READS_MAX: usize = 64;
/// The pipe of a stream that writes faster than it is read grows to this, so that it seldom waits. Not every user may do so.
const PIPE_BYTES: usize = 1024 * 1024;
/// A pipe that has been this full for so long has a writer that waits: then output is left out until the pipe is emptier.
const FULL_BYTES: u64 = PIPE_BYTES as u64 / 8 * 7;
const FULL_FOR: Duration = Duration::from_secs(1);

/// Room to work in, for all replicas in turn.
#[derive(Debug)]
pub struct Room {
    /// For what is read.
    pub buffer: Vec<u8>,
    /// For what is made of it.
    pub records: Vec<u8>,
}

/// Where the pipes of a replica are, by its directory.
pub fn pipes(directory: &Path) -> Vec<PathBuf> {
    [Stream::Stdout, Stream::Stderr].map(|stream| directory.join(stream.name())).to_vec()
}

/// Both streams of one replica, and its log.
#[derive(Debug)]
pub struct Output {
    streams: [Drain; 2],
    log: Log,
}

impl Output {
    /// Makes the replica's directory and its pipes, and opens them for reading. Its log goes to `log`, where nothing is made yet.
    pub fn open(directory: &Path, log: &Path, spec: LogSpec) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
        let streams = [Drain::open(directory, Stream::Stdout)?, Drain::open(directory, Stream::Stderr)?];
        Ok(Output { streams, log: Log::new(log, spec) })
    }

    /// The pipes and the log that the program before this one of this process had.
    pub fn resume(directory: &Path, log: &Path, spec: LogSpec, pipes: [OwnedFd; 2], left: OutputLeft) -> Self {
        let [stdout, stderr] = pipes;
        let [stdout_lines, stderr_lines] = left.last_lines;
        let drain = |stream: Stream, pipe: OwnedFd, lines: Vec<String>| {
            let mut last = LastLines::default();
            lines.iter().for_each(|line| last.feed(format!("{line}\n").as_bytes()));
            let pipe_path = directory.join(stream.name());
            Drain { stream, pipe: File::from(pipe), pipe_path, is_large: false, full_since: None, full_at: None, last }
        };
        let streams = [drain(Stream::Stdout, stdout, stdout_lines), drain(Stream::Stderr, stderr, stderr_lines)];
        Output { streams, log: Log::resume(log, spec, left.halves, left.dropped_bytes) }
    }

    /// What the next program of this process is to have, beside the pipes. What waits for the disk is written now or never.
    pub fn leave(&mut self) -> OutputLeft {
        let [stdout, stderr] = &self.streams;
        let last_lines = [stdout.last.texts(), stderr.last.texts()];
        let (halves, dropped_bytes) = self.log.leave();
        OutputLeft { last_lines, halves, dropped_bytes }
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
    pub fn drain(&mut self, at: usize, room: &mut Room) {
        if let Some(drain) = self.streams.get_mut(at) {
            drain.once(&mut self.log, room);
        }
    }

    /// Moves all that both streams hold, and ends their lines: a process has ended.
    pub fn drain_all(&mut self, room: &mut Room) {
        for drain in &mut self.streams {
            for _ in 0..LAST_READS_MAX {
                if !drain.once(&mut self.log, room) {
                    break;
                }
            }
        }
        self.log.end_lines();
    }

    /// Whether [`Output::care`] is to be called within about a second.
    pub fn needs_care(&self) -> bool {
        self.log.needs_care()
    }

    /// Sees to what waits: what there is to tell of the log, if anybody hears it.
    pub fn care(&mut self, is_heard: bool) -> Option<LogNews> {
        self.log.care(is_heard)
    }

    /// The replica is over.
    pub fn end(&mut self, room: &mut Room) -> Option<LogNews> {
        self.drain_all(room);
        self.log.end()
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

/// What one program of a guardian leaves to the next of a replica's output.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OutputLeft {
    last_lines: [Vec<String>; 2],
    /// Lines that have not ended.
    halves: [Vec<u8>; 2],
    /// What the agent was not told of.
    dropped_bytes: u64,
}

#[derive(Debug)]
struct Drain {
    stream: Stream,
    pipe: File,
    pipe_path: PathBuf,
    is_large: bool,
    /// Since when it is full, with no second in which it was not.
    full_since: Option<Instant>,
    full_at: Option<Instant>,
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
        Ok(Drain { stream, pipe, pipe_path, is_large: false, full_since: None, full_at: None, last: LastLines::default() })
    }

    fn writer(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.pipe_path)?.into())
    }

    /// One read. False when there was nothing.
    fn once(&mut self, log: &mut Log, room: &mut Room) -> bool {
        let chunk = match (&self.pipe).read(&mut room.buffer) {
            Ok(n) if n > 0 => room.buffer.get(..n).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::Interrupted => return true,
            // Empty; nothing else can happen to a pipe that this process holds open itself.
            _ => return false,
        };
        // A pipe that is full seldom holds quite as much as it could.
        let is_flood = chunk.len() >= room.buffer.len() / 2;
        if is_flood && !self.is_large {
            self.is_large = true;
            let _ = fcntl_setpipe_size(&self.pipe, PIPE_BYTES);
        }
        self.last.feed(chunk);
        let chunk_bytes = chunk.len();
        if is_flood && self.is_full_for_long() {
            log.shed(chunk_bytes as u64);
        } else {
            log.take(self.stream, chunk, &mut room.records);
        }
        true
    }

    fn is_full_for_long(&mut self) -> bool {
        if rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes < FULL_BYTES) {
            return false;
        }
        let now = Instant::now();
        if self.full_at.is_none_or(|at| now - at > FULL_FOR) {
            self.full_since = Some(now);
        }
        self.full_at = Some(now);
        self.full_since.is_some_and(|since| now - since > FULL_FOR)
    }
}
