//! Unpacking: the one place where what came from outside becomes files.
//!
//! An archive says what it wants made; [`Unpacking`] makes it, or says of which entry and why not. It makes regular files and
//! directories only, in a jail, each name once, within [`Bounds`]. What an archive says of owners, times and special bits is not looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::bounds::{Bounds, Passed, Used};
use super::cancel::Cancelled;
use super::entry_name::{self, BadName};
use super::format::Format;
use super::{tar_archive, zip_archive};
use crate::os::Jail;

/// As much as a reader has in memory.
const BUFFER_BYTES: usize = 64 * 1024;
/// A decompressor of zstd keeps so much of what it wrote, as a power of two: `zstd -19` needs no more.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Because of an entry.
    #[error("its entry {name} is refused: {why}")]
    Entry {
        /// The name, fit to be shown.
        name: String,
        /// Why.
        why: Why,
    },
    /// It is damaged, or is none.
    #[error("it is no {format} archive that can be read: {why}")]
    Archive {
        /// What it was taken for.
        format: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The disk, or it was cancelled.
    #[error("it cannot be unpacked: {0}")]
    Io(#[from] io::Error),
}

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// Its name.
    #[error("{0}")]
    Name(#[from] BadName),
    /// Too much.
    #[error("{0}")]
    Bounds(#[from] Passed),
    /// What it is.
    #[error("it is {0}; only files and directories are unpacked")]
    Kind(&'static str),
    /// There is another of that name.
    #[error("its name is in the archive twice")]
    Twice,
    /// Its name is that of a directory or the other way round.
    #[error("it is a file and a directory at once")]
    Conflict,
    /// Less or more in it than the archive says.
    #[error("the archive says that it has {said} bytes, and it has {found}")]
    Size {
        /// What the archive says.
        said: u64,
        /// What there was; one more where there is more.
        found: u64,
    },
    /// Something else that is wrong with it.
    #[error("{0}")]
    Damaged(String),
}

impl Error {
    /// An entry is refused.
    pub fn entry(name: &[u8], why: impl Into<Why>) -> Self {
        Error::Entry { name: entry_name::shown(name), why: why.into() }
    }
}

/// What was made of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    File,
    /// For something that lies in it; the archive may name it later.
    Implied,
    Directory,
}

/// A directory that is being filled.
#[derive(Debug)]
pub struct Unpacking<'a> {
    jail: Jail,
    made: BTreeMap<String, Made>,
    used: Used,
    cancelled: &'a Cancelled,
    buffer: Vec<u8>,
}

impl Unpacking<'_> {
    /// One more header was read, of whatever kind.
    pub fn header(&mut self, name: &[u8]) -> Result<(), Error> {
        self.cancelled.check()?;
        self.used.entry().map_err(|why| Error::entry(name, why))
    }

    /// The archive has a directory.
    pub fn directory(&mut self, name: &[u8]) -> Result<(), Error> {
        let path = entry_name::path_of(name).map_err(|why| Error::entry(name, why))?;
        if path.is_empty() {
            return Ok(());
        }
        match self.made.get_mut(path) {
            Some(Made::File) => return Err(Error::entry(name, Why::Conflict)),
            Some(Made::Directory) => return Err(Error::entry(name, Why::Twice)),
            Some(made) => *made = Made::Directory,
            None => {
                self.parents(name, path)?;
                self.make_directory(name, path, Made::Directory)?;
            }
        }
        Ok(())
    }

    /// The archive has a file of so many bytes.
    pub fn file(&mut self, name: &[u8], is_program: bool, said: u64, content: &mut dyn Read) -> Result<(), Error> {
        let path = entry_name::path_of(name).map_err(|why| Error::entry(name, why))?;
        if path.is_empty() {
            return Err(Error::entry(name, Why::Conflict));
        }
        match self.made.get(path) {
            Some(Made::File) => return Err(Error::entry(name, Why::Twice)),
            Some(_) => return Err(Error::entry(name, Why::Conflict)),
            None => self.parents(name, path)?,
        }
        self.used.name(path.len()).map_err(|why| Error::entry(name, why))?;
        self.made.insert(path.to_owned(), Made::File);
        let mut file = self.jail.file(path)?;
        let found = self.fill(name, &mut file, said, content)?;
        if found != said {
            return Err(Error::entry(name, Why::Size { said, found }));
        }
        Ok(Jail::seal_file(&file, is_program)?)
    }

    /// Copies what an entry has, and one byte more than it said at the most.
    fn fill(&mut self, name: &[u8], file: &mut File, said: u64, content: &mut dyn Read) -> Result<u64, Error> {
        let mut content = content.take(said.saturating_add(1));
        let mut found = 0;
        loop {
            self.cancelled.check()?;
            let n = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(found),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::entry(name, Why::Damaged(format!("its data cannot be read: {e}")))),
            };
            self.used.bytes(n as u64).map_err(|why| Error::entry(name, why))?;
            found += n as u64;
            file.write_all(&self.buffer[..n])?;
        }
    }

    /// Makes the directories that a path lies in, where the archive has not named them yet.
    fn parents(&mut self, name: &[u8], path: &str) -> Result<(), Error> {
        for (at, _) in path.match_indices('/') {
            match self.made.get(&path[..at]) {
                Some(Made::File) => return Err(Error::entry(name, Why::Conflict)),
                Some(_) => {}
                None => self.make_directory(name, &path[..at], Made::Implied)?,
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, name: &[u8], path: &str, made: Made) -> Result<(), Error> {
        self.used.name(path.len()).map_err(|why| Error::entry(name, why))?;
        self.jail.directory(path)?;
        self.made.insert(path.to_owned(), made);
        Ok(())
    }
}

/// Unpacks a file into a directory, which it makes: nobody can change what is in it then, and it is on the disk. Tells the bytes that it
/// has. What it leaves when it fails is for the caller to remove.
pub fn unpack(file: &mut File, format: Format, name: &str, into: &Path, bounds: Bounds, cancelled: &Cancelled) -> Result<u64, Error> {
    let packed = file.metadata()?.len();
    let mut first = [0; 4];
    file.rewind()?;
    let n = file.read(&mut first)?;
    if !format.may_begin_with(&first[..n]) {
        return Err(Error::Archive { format: format.word(), why: "its first bytes are another kind's".to_owned() });
    }
    file.rewind()?;
    let mut unpacking = Unpacking {
        jail: Jail::make(into)?,
        made: BTreeMap::new(),
        used: Used::nothing(bounds, packed),
        cancelled,
        buffer: vec![0; BUFFER_BYTES],
    };
    let reader = BufReader::with_capacity(BUFFER_BYTES, &mut *file);
    match format {
        Format::File => unpacking.file(name.as_bytes(), true, packed, &mut { reader })?,
        Format::Tar => tar_archive::read(reader, format, &mut unpacking)?,
        Format::TarGz => tar_archive::read(MultiGzDecoder::new(reader), format, &mut unpacking)?,
        Format::TarZst => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            tar_archive::read(decoder, format, &mut unpacking)?;
        }
        Format::Zip => zip_archive::read(file, bounds, &mut unpacking)?,
    }
    let directories = unpacking.made.iter().rev().filter(|(_, made)| **made != Made::File);
    unpacking.jail.seal(directories.map(|(path, _)| path.as_str()))?;
    Ok(unpacking.used.bytes)
}
