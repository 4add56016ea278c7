//! The numbered files of one replica's log: opened, rotated, and looked after when somebody else laid hands on them.
//!
//! Absent from here: what is written, and what happens when that fails.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::logs::{LogSpec, Stream};

use super::system::is_same_file;
use crate::logs::record::Record;
use crate::logs::{place, record};

/// How often it is looked whether the file is still there and as long as it was left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of one replica.
#[derive(Debug)]
pub struct LogFiles {
    directory: PathBuf,
    spec: LogSpec,
    open: Option<Open>,
    /// The highest number that was given so far.
    newest: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// `None`: now is the time to look.
    looked_at: Option<Instant>,
}

impl LogFiles {
    /// Nothing is made before something is written.
    pub fn new(directory: &Path, spec: LogSpec) -> Self {
        LogFiles { directory: directory.to_owned(), spec, open: None, newest: 0 }
    }

    /// Whether what was begun can be gone on with in the same file.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The next write looks whether the file is still what it was.
    #[cfg(test)]
    pub fn look_again(&mut self) {
        if let Some(open) = &mut self.open {
            open.looked_at = None;
        }
    }

    /// Writes a piece to the newest file, or to the next one where it does not fit into that: how much was written, and a sentence if that is
    /// not all. `note` gets a sentence when somebody else removed or cut the file.
    pub fn write(&mut self, piece: &[u8], note: &mut Option<String>) -> (usize, Result<(), String>) {
        let mut done = 0;
        let outcome = self.try_write(piece, note, &mut done);
        let outcome = outcome.map_err(|e| {
            let path = self.open.as_ref().map_or(&self.directory, |open| &open.path);
            let sentence = format!("cannot write {}: {e}", path.display());
            // A file that is merely full is gone on with; any other may not be what it was.
            if !matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                self.open = None;
            }
            sentence
        });
        (done, outcome)
    }

    fn try_write(&mut self, piece: &[u8], note: &mut Option<String>, done: &mut usize) -> io::Result<()> {
        if self.look(note)? {
            // The rest of a record that was begun in what is gone now means nothing.
            let first = memchr::memchr(b'\n', piece).unwrap_or(piece.len());
            if Record::read(piece.get(..first).unwrap_or_default()).is_none() {
                *done = piece.len().min(first + 1);
            }
        }
        let is_full = self.open.as_ref().is_some_and(|open| open.bytes > 0 && open.bytes + piece.len() as u64 > self.spec.max_bytes);
        if is_full {
            self.open = None;
            self.begin_next()?;
        }
        if self.open.is_none() {
            self.open_newest(piece.len() as u64)?;
        }
        let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
        while let Some(rest) = piece.get(*done..).filter(|rest| !rest.is_empty()) {
            match open.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    *done += n;
                    open.bytes += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Looks whether the file is still there and as long as it was left, and says so in the log if it is not: then it is true.
    fn look(&mut self, note: &mut Option<String>) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        if open.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        open.looked_at = Some(Instant::now());
        let path = open.path.display();
        let length = open.file.metadata()?.len();
        let is_there = is_same_file(&open.file, &open.path).unwrap_or(false);
        let sentence = if !is_there {
            format!("the log file {path} was removed or renamed by somebody; another was begun")
        } else if length < open.bytes {
            format!("the log file {path} was cut short by somebody, from {} bytes to {length}", open.bytes)
        } else {
            open.bytes = length;
            return Ok(false);
        };
        open.bytes = length;
        if !is_there {
            self.open = None;
            self.begin_next()?;
        }
        if let Some(open) = &mut self.open {
            let mut line = Vec::new();
            record::write(&mut line, &record::now().to_string(), Stream::Ostler, true, [sentence.as_bytes(), b""]);
            open.file.write_all(&line)?;
            open.bytes += line.len() as u64;
        }
        *note = Some(sentence);
        Ok(true)
    }

    /// Goes on with the newest file, if `bytes` fit into it.
    fn open_newest(&mut self, bytes: u64) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.directory)?;
        let Some(number) = place::numbers(&self.directory)?.pop() else { return self.begin_next() };
        self.newest = self.newest.max(number);
        let path = place::file(&self.directory, number);
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        let mut length = file.metadata()?.len();
        if length + bytes > self.spec.max_bytes {
            return self.begin_next();
        }
        // A guardian that was killed may have left half a record.
        let mut last = [b'\n'];
        if length > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            length += 1;
        }
        self.open = Some(Open { file, path, bytes: length, looked_at: Some(Instant::now()) });
        Ok(())
    }

    /// Begins the next file. First the oldest goes, so that a disk that these files filled has room again.
    fn begin_next(&mut self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.directory)?;
        let numbers = place::numbers(&self.directory)?;
        let kept = usize::try_from(self.spec.files.saturating_sub(1)).unwrap_or(usize::MAX);
        for number in numbers.iter().take(numbers.len().saturating_sub(kept)) {
            match fs::remove_file(place::file(&self.directory, *number)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        let number = self.newest.max(numbers.last().copied().unwrap_or(0)).saturating_add(1);
        let path = place::file(&self.directory, number);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        self.newest = number;
        self.open = Some(Open { file, path, bytes: 0, looked_at: Some(Instant::now()) });
        Ok(())
    }
}
