//! The data directory: made for its owner alone, and locked while a controller uses it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::super::Error;

const LOCK_NAME: &str = "lock";

/// Makes it where it is not there, with all that is above it.
pub fn make(directory: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|source| Error::Io { doing: "create the data directory", path: directory.to_owned(), source })
}

/// Locks it for as long as the file is held; never waits.
pub fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK_NAME);
    let io = |doing| {
        let path = path.clone();
        move |source| Error::Io { doing, path, source }
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io("open the lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse(directory.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(io("lock")(source)),
    }
}

/// Makes a rename within it durable.
#[cfg(unix)]
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a rename within it durable, where that needs a call.
#[cfg(not(unix))]
pub fn sync(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Device and inode: tells the file that was opened from another in its place.
#[cfg(unix)]
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Unknown.
#[cfg(not(unix))]
pub fn identity(_path: &Path) -> Option<(u64, u64)> {
    None
}
