//! The access log: a line for each request, in a file or on stdout.
//!
//! The gateway's threads gather lines and hand them over several times a second; a thread of the log's own writes them. When it cannot keep
//! up, lines are dropped and counted: a slow disk slows no request down. A file that was moved away is opened anew within a second, so that
//! any program may rotate it. Absent from here: what happened ([`crate::record`]).

use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::fields;
use crate::meters::ThreadMeters;
use crate::request::RequestHead;

/// A thread hands over what it has once it is so much.
const BLOCK_BYTES: usize = 32 * 1024;
/// So many blocks wait for the file at most.
const WAITING_MAX: usize = 64;
/// How often it is looked at whether the file is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most of a client's own words in one field of a line.
const TEXT_BYTES_MAX: usize = 2_048;

/// Where lines go, and what they look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file; lines are added to it. `None`: stdout.
    pub path: Option<PathBuf>,
    /// What a line looks like.
    pub format: Format,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// The combined format of Apache's server.
    Combined,
}

/// One request.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    #[serde(serialize_with = "as_text")]
    pub(crate) time: Timestamp,
    pub(crate) client: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) protocol: String,
    /// 0: the client was gone before there was an answer.
    pub(crate) status: u16,
    /// Without the head of the answer.
    pub(crate) bytes: u64,
    pub(crate) request_id: String,
    pub(crate) app: Option<String>,
    pub(crate) replica: Option<String>,
    pub(crate) first_byte_ms: Option<f64>,
    pub(crate) total_ms: f64,
    /// Sent again after a replica had got it.
    pub(crate) retries: u32,
    /// Given to another replica before a byte was sent.
    pub(crate) replays: u32,
    pub(crate) referer: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// Why it has no answer of a replica, or not all of it.
    pub(crate) reason: Option<String>,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

impl Line {
    /// The line of a request whose head was written to `written`; what becomes of it is not known yet.
    pub(crate) fn of(head: &RequestHead, written: &[u8], version: &str) -> Self {
        let field = |name: &[u8]| fields::find(written, name).map(text);
        Line {
            time: Timestamp::now(),
            method: text(written.split(|byte| *byte == b' ').next().unwrap_or_default()),
            host: text(head.host(written).as_bytes()),
            target: text(head.path_and_query(written).as_bytes()),
            protocol: format!("HTTP/{version}"),
            request_id: field(b"x-request-id").unwrap_or_default(),
            referer: field(b"referer"),
            user_agent: field(b"user-agent"),
            ..Line::default()
        }
    }

    /// The line of what was no request: its first line, if that looks like one.
    pub(crate) fn unread(bytes: &[u8]) -> Self {
        let line = bytes.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        let [method, target, protocol] = match words[..] {
            [method, target, protocol] if words.iter().all(|word| is_word(word)) => [method, target, protocol].map(text),
            _ => ["-", "-", "-"].map(str::to_owned),
        };
        Line { time: Timestamp::now(), method, target, protocol, ..Line::default() }
    }
}

/// A client's words, as much of them as a line takes.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    // A terminal may obey some of these, and a reader of lines may end one at others.
    let is_unsafe = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    text.replace(is_unsafe, "\u{fffd}")
}

/// The end of the log at which a thread gathers its lines.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    block: RefCell<Vec<u8>>,
    lines: RefCell<u64>,
    to_file: SyncSender<Block>,
}

/// Lines, and how many.
type Block = (Vec<u8>, u64);

impl AccessLog {
    /// Adds a line.
    pub(crate) fn write(&self, line: &Line, meters: &ThreadMeters) {
        let is_full = {
            let mut block = self.block.borrow_mut();
            match self.format {
                // A struct of texts and numbers always serialises, and a vector takes all.
                Format::Json => drop(serde_json::to_writer(&mut *block, line)),
                Format::Combined => write_combined(&mut block, line),
            }
            block.push(b'\n');
            *self.lines.borrow_mut() += 1;
            block.len() >= BLOCK_BYTES
        };
        if is_full {
            self.hand_over(meters);
        }
    }

    /// Hands over what was gathered.
    pub(crate) fn hand_over(&self, meters: &ThreadMeters) {
        let block = self.block.take();
        let lines = self.lines.take();
        if !block.is_empty() && self.to_file.try_send((block, lines)).is_err() {
            meters.log_dropped.add(lines);
        }
    }
}

/// `host - - [time] "request" status bytes "referer" "user agent"`.
fn write_combined(out: &mut Vec<u8>, line: &Line) {
    let quoted = |out: &mut Vec<u8>, text: Option<&str>| {
        out.push(b'"');
        for character in text.unwrap_or("-").chars() {
            match character {
                '"' | '\\' => out.extend([b'\\', character as u8]),
                control if control.is_control() => {
                    let _ = write!(out, "\\x{:02x}", control as u32);
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.push(b'"');
    };
    // Writing to a vector cannot fail.
    let _ = write!(out, "{} - - [{}] ", line.client, line.time.strftime("%d/%b/%Y:%H:%M:%S +0000"));
    quoted(out, Some(&format!("{} {} {}", line.method, line.target, line.protocol)));
    let _ = write!(out, " {} {} ", line.status, line.bytes);
    quoted(out, line.referer.as_deref());
    out.push(b' ');
    quoted(out, line.user_agent.as_deref());
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the access log to {}: {source}; name another file with --access-log", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// The writing end: a thread that ends when all its users are gone.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    to_file: SyncSender<Block>,
    /// Lines that the file did not take.
    lost: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Opens the file.
    ///
    /// # Errors
    /// An [`Error`] with the path in its one line.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let failed = |source| Error { path: config.path.clone().unwrap_or_else(|| PathBuf::from("stdout")), source };
        let lost: Arc<AtomicU64> = Arc::default();
        let mut target = Target::open(config.path.clone(), Arc::clone(&lost)).map_err(failed)?;
        let (to_file, blocks) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || target.write_all(&blocks)).map_err(failed)?;
        Ok(Writer { format: config.format, to_file, lost, thread })
    }

    /// An end for one thread.
    pub(crate) fn end(&self) -> AccessLog {
        AccessLog { format: self.format, block: RefCell::default(), lines: RefCell::default(), to_file: self.to_file.clone() }
    }

    /// Counts the lines that the file did not take.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Waits until all is written; to be called when all ends are gone.
    pub(crate) fn join(self) {
        drop(self.to_file);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the access log panicked");
        }
    }
}

/// Where lines go.
struct Target {
    path: Option<PathBuf>,
    file: Option<File>,
    has_failed: bool,
    lost: Arc<AtomicU64>,
}

impl Target {
    fn open(path: Option<PathBuf>, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let file = path.as_deref().map(open).transpose()?;
        Ok(Target { path, file, has_failed: false, lost })
    }

    fn write_all(&mut self, blocks: &Receiver<Block>) {
        loop {
            match blocks.recv_timeout(LOOK_EVERY) {
                Ok((block, lines)) => {
                    if !self.write(&block) {
                        self.lost.fetch_add(lines, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// `false`: the file did not take it, or not all of it.
    fn write(&mut self, block: &[u8]) -> bool {
        let written = match &self.path {
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(block).and_then(|()| stdout.flush())
            }
            Some(path) => {
                if self.file.as_ref().is_none_or(|file| was_moved(path, file)) {
                    self.file = open(path).ok();
                }
                match &mut self.file {
                    Some(file) => file.write_all(block),
                    None => Err(io::Error::from(io::ErrorKind::NotFound)),
                }
            }
        };
        // Told once, and again after it went well.
        if let Err(error) = &written
            && !self.has_failed
        {
            let path = self.path.as_deref().unwrap_or(Path::new("stdout"));
            tracing::warn!("cannot write the access log to {}: {error}; its lines are lost until that works again", path.display());
        }
        self.has_failed = written.is_err();
        !self.has_failed
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe without a reader would hold up whoever opens it.
    if path.metadata().is_ok_and(|there| !takes_lines(&there)) {
        return Err(io::Error::other("it is no file"));
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// It is a file, or a device as /dev/null is.
#[cfg(unix)]
fn takes_lines(there: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    there.is_file() || there.file_type().is_char_device()
}

#[cfg(not(unix))]
fn takes_lines(there: &Metadata) -> bool {
    there.is_file()
}

/// The file at `path` is not the one that is open.
#[cfg(unix)]
fn was_moved(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (path.metadata(), file.metadata()) {
        (Ok(there), Ok(open)) => (there.dev(), there.ino()) != (open.dev(), open.ino()),
        (Err(_), _) => true,
        (_, Err(_)) => false,
    }
}

#[cfg(not(unix))]
fn was_moved(path: &Path, _file: &File) -> bool {
    !path.exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line() -> Line {
        Line {
            time: "2026-11-24T11:01:02.5Z".parse().unwrap(),
            client: "127.0.0.1".to_owned(),
            method: "GET".to_owned(),
            target: "/a?b=\"c\"".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            status: 200,
            bytes: 12,
            user_agent: Some("x\\y\n".to_owned()),
            ..Line::default()
        }
    }

    #[test]
    fn the_combined_format_is_one_line_whatever_a_client_says() {
        let mut out = Vec::new();
        write_combined(&mut out, &line());
        let expected = r#"127.0.0.1 - - [24/Nov/2026:11:01:02 +0000] "GET /a?b=\"c\" HTTP/1.1" 200 12 "-" "x\\y\x0a""#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let directory = std::env::temp_dir().join(format!("ostler-access-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("access.log");
        let mut target = Target::open(Some(path.clone()), Arc::default()).unwrap();
        assert!(target.write(b"one\n"));
        std::fs::rename(&path, directory.join("access.log.1")).unwrap();
        assert!(target.write(b"two\n"));
        assert_eq!(std::fs::read(directory.join("access.log.1")).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn lines_that_find_no_room_are_dropped_and_counted() {
        let (to_file, _blocks) = sync_channel(1);
        let log = AccessLog { format: Format::Json, block: RefCell::default(), lines: RefCell::default(), to_file };
        let meters = ThreadMeters::default();
        for _ in 0..3 {
            log.write(&line(), &meters);
            log.write(&line(), &meters);
            log.hand_over(&meters);
        }
        assert_eq!(meters.log_dropped.get(), 4);
    }
}
