//! A directory that is filled from outside, and nothing is ever made beside it.
//!
//! Every path is resolved by the kernel below the directory's own descriptor: openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS,
//! RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV. Where it is missing (before Linux 5.6, or forbidden by an old seccomp filter) each part is opened from the one before it,
//! following no link, which comes to the same for paths without `..`; there are none in [`crate::artifact`].

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, fsync, mkdirat, openat, openat2, syncfs};
use rustix::io::Errno;

/// A program, a file and a directory that nobody changes.
const PROGRAM: u32 = 0o555;
const PLAIN: u32 = 0o444;
const DIRECTORY: u32 = 0o555;

/// A new directory.
#[derive(Debug)]
pub(crate) struct Jail {
    root: OwnedFd,
}

impl Jail {
    /// Makes it. Nothing may be there.
    pub fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Jail { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Makes a directory in one that is there.
    pub fn directory(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        Ok(mkdirat(&parent, name, Mode::RWXU)?)
    }

    /// Makes a file in a directory that is there.
    pub fn file(&self, path: &str) -> io::Result<File> {
        let (parent, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(beneath(parent.as_fd(), name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Nobody is to change a file that was made.
    pub fn seal_file(file: &File, is_program: bool) -> io::Result<()> {
        Ok(fchmod(file, Mode::from_raw_mode(if is_program { PROGRAM } else { PLAIN }))?)
    }

    /// Nobody is to change these directories, and the root. What is in all of them is on the disk when this returns.
    pub fn seal<'a>(&self, directories: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for path in directories {
            fchmod(beneath(self.root.as_fd(), path, flags, Mode::empty())?, Mode::from_raw_mode(DIRECTORY))?;
        }
        fchmod(&self.root, Mode::from_raw_mode(DIRECTORY))?;
        // One call for all of them: a hundred thousand small files take minutes one by one.
        syncfs(&self.root)?;
        Ok(fsync(&self.root)?)
    }

    /// The directory that a path lies in, and the last part of the path.
    fn place<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok((beneath(self.root.as_fd(), parent, flags, Mode::empty())?, name))
    }
}

fn beneath(root: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(&root, path, flags, mode, resolve) {
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, path, flags, mode),
        result => result,
    }
}

fn step_by_step(root: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
    let walk = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", walk, Mode::empty())?;
    for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
        if matches!(part, "" | "..") {
            return Err(Errno::XDEV);
        }
        at = openat(&at, part, walk, Mode::empty())?;
    }
    if matches!(name, "" | "..") {
        return Err(Errno::XDEV);
    }
    openat(&at, name, flags, mode)
}

/// Removes a directory that may have been sealed, with all that is in it. Nothing there is no error.
pub(crate) fn remove_sealed(path: &Path) -> io::Result<()> {
    let open_up = |path: &Path| -> io::Result<()> {
        let mut left = vec![path.to_owned()];
        while let Some(directory) = left.pop() {
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                // Of a link this tells that it is one.
                if entry.file_type()?.is_dir() {
                    left.push(entry.path());
                }
            }
        }
        Ok(())
    };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_dir() => open_up(path)?,
        Ok(_) | Err(_) => {}
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Lets every user of this host look into a directory of ours that others cannot change.
pub(crate) fn open_to_readers(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_is_made_through_a_link_or_above_the_directory_with_openat2_or_without() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let jail = Jail::make(&dir.path().join("in")).unwrap();
        std::os::unix::fs::symlink(&outside, dir.path().join("in/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("in/dangling")).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for path in ["link/x", "../x", "link/../x", "dangling", "", "..", "link"] {
            assert!(jail.file(path).is_err(), "{path}");
            assert!(jail.directory(path).is_err(), "{path}");
            assert!(step_by_step(&jail.root, path, flags, Mode::RWXU).is_err(), "{path}");
        }
        jail.directory("a").unwrap();
        jail.directory("a/b").unwrap();
        jail.file("a/b/c").unwrap();
        assert!(step_by_step(&jail.root, "a/b/d", flags, Mode::RWXU).is_ok());
        assert!(jail.file("a/b/c").is_err(), "it is there already");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_was_sealed_cannot_be_changed_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        let jail = Jail::make(&path).unwrap();
        jail.directory("a").unwrap();
        Jail::seal_file(&jail.file("a/run").unwrap(), true).unwrap();
        Jail::seal_file(&jail.file("a/data").unwrap(), false).unwrap();
        jail.seal(["a"].into_iter()).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("in"), mode("in/a"), mode("in/a/run"), mode("in/a/data")], [0o555, 0o555, 0o555, 0o444]);
        remove_sealed(&path).unwrap();
        assert!(!path.exists());
        remove_sealed(&path).unwrap();
    }
}
