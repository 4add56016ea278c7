//! The temporary directory of one replica: its user's, closed to all others, and removed with the replica.
//!
//! It lies where temporary files of the host do, and not in the runtime directory, which is memory on most hosts. A link in the replica's
//! directory leads to it, so that whoever removes that one finds this one, also after a crash.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fchmod, fchown, openat};
use rustix::process::getuid;

use super::user::User;
use crate::runtime_dir::TMP_LINK;

/// Makes `path`, or takes it as an attempt before left it, for this user.
pub fn make(path: &Path, replica: &Path, user: Option<&User>) -> io::Result<OwnedFd> {
    let sentence = |e: io::Error| io::Error::other(format!("its temporary directory {} cannot be made: {e}", path.display()));
    make_in(path, replica, user).map_err(sentence)
}

fn make_in(path: &Path, replica: &Path, user: Option<&User>) -> io::Result<OwnedFd> {
    // The link first: a directory that no link leads to would stay for ever.
    match symlink(path, replica.join(TMP_LINK)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Others may write beside it: what is there must be a directory, and no link to one.
    let tmp = openat(CWD, path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let owner = fs::File::from(tmp.try_clone()?).metadata()?.uid();
    let own = getuid();
    if owner != own.as_raw() && user.is_none_or(|user| user.uid().as_raw() != owner) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    fchmod(&tmp, Mode::RWXU)?;
    if let Some(user) = user {
        fchown(&tmp, Some(user.uid()), Some(user.gid()))?;
    }
    Ok(tmp)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_closed_to_others_and_no_link_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (replica, tmp) = (dir.path().join("replica"), dir.path().join("tmp-of-it"));
        fs::create_dir(&replica).unwrap();
        for _ in 0..2 {
            make(&tmp, &replica, None).unwrap();
            assert_eq!(fs::metadata(&tmp).unwrap().permissions().mode() & 0o777, 0o700);
            assert_eq!(fs::read_link(replica.join(TMP_LINK)).unwrap(), tmp);
            fs::set_permissions(&tmp, fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::remove_dir(&tmp).unwrap();
        symlink(&replica, &tmp).unwrap();
        let error = make(&tmp, &replica, None).unwrap_err().to_string();
        assert!(error.contains(tmp.to_str().unwrap()), "{error}");
    }
}
