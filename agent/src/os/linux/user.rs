//! The user that a replica runs as: looked up before its process is there, and put on in between fork and exec.
//!
//! Looked up at each start, as the host's name service has it (nsswitch.conf(5)). Whatever is not as it was asked for is an error: a
//! replica never runs as somebody else.

use std::ffi::{CStr, CString};
use std::io;

use cluster::run_as::RunAs;
use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// What an entry of the user database may take, in bytes. A group with thousands of members is long.
const ENTRY_BYTES_MIN: usize = 4 * 1024;
const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most groups of one user (`NGROUPS_MAX` of Linux).
const GROUPS_MAX: usize = 65_536;

/// Why a replica cannot run as its spec says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody of that name or number.
    #[error("run_as.{what} is \"{name}\", which this host does not have; make it, or name another")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// A number that no entry says more of.
    #[error("run_as.user is {0}, of which this host knows no group; name one with run_as.group")]
    NoGroup(u32),
    /// Not root.
    #[error(
        "run_as asks for {wanted}, and its agent runs as {own}, who cannot become anybody else; run the agent as root, or leave run_as.user and run_as.group out"
    )]
    NotRoot {
        /// Who was asked for.
        wanted: String,
        /// Who it is.
        own: String,
    },
    /// The user database cannot be read.
    #[error("run_as.{what} \"{name}\" cannot be looked up: {source}")]
    LookUp {
        /// `user` or `group`.
        what: &'static str,
        /// As it was asked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A user of this host, with groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
    groups: Vec<Gid>,
    /// As the user database has it, if it does.
    entry: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: CString,
    home: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// Whom a spec means; `None` where it is whoever the agent is.
    pub fn of(run_as: &RunAs) -> Result<Option<Self>, Error> {
        if !run_as.names_somebody() {
            return Ok(None);
        }
        let (uid, entry) = match &run_as.user {
            Some(name) => find_user(name)?,
            None => (getuid().as_raw(), by_uid(getuid().as_raw()).unwrap_or_default()),
        };
        let gid = match (&run_as.group, &entry) {
            (Some(name), _) => find_group(name)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => return Err(Error::NoGroup(uid)),
        };
        let (own_uid, own_gid) = (getuid(), getgid());
        if !own_uid.is_root() {
            if (uid, gid) == (own_uid.as_raw(), own_gid.as_raw()) {
                return Ok(None);
            }
            let of = |uid, gid| format!("user {uid} and group {gid}");
            return Err(Error::NotRoot { wanted: of(uid, gid), own: of(own_uid.as_raw(), own_gid.as_raw()) });
        }
        let groups = entry.as_ref().map_or_else(|| vec![gid], |entry| groups_of(&entry.name, gid));
        let groups = groups.into_iter().map(Gid::from_raw).collect();
        Ok(Some(User { uid, gid, groups, entry: entry.filter(|_| run_as.user.is_some()) }))
    }

    /// Who owns what is made for it.
    pub fn uid(&self) -> Uid {
        Uid::from_raw(self.uid)
    }

    /// The group of what is made for it.
    pub fn gid(&self) -> Gid {
        Gid::from_raw(self.gid)
    }

    /// What its environment says of it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let Some(Entry { name, home, .. }) = &self.entry else { return vec![] };
        let name = name.to_string_lossy().into_owned();
        vec![("HOME", home.clone()), ("LOGNAME", name.clone()), ("USER", name)]
    }

    /// Makes this process, which has one thread and is root, this user's. System calls only: it is used between fork and exec.
    ///
    /// # Errors
    /// Refused, or what was given up could be had again.
    pub fn put_on(&self) -> io::Result<()> {
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid(), self.gid(), self.gid())?;
        set_thread_res_uid(self.uid(), self.uid(), self.uid())?;
        if self.uid != 0 && set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
            // Some right of its agent outlived the change.
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(())
    }
}

/// A name of digits alone is a number. The last number means "as it is" to the system, so it is nobody.
fn number(name: &str) -> Option<u32> {
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().unwrap_or(u32::MAX))
}

fn find_user(name: &str) -> Result<(u32, Option<Entry>), Error> {
    let unknown = || Error::Unknown { what: "user", name: name.to_owned() };
    let failed = |source| Error::LookUp { what: "user", name: name.to_owned(), source };
    match number(name) {
        Some(u32::MAX) => Err(unknown()),
        Some(uid) => Ok((uid, by_uid(uid).map_err(failed)?)),
        None => {
            let wanted = CString::new(name).map_err(|_| unknown())?;
            // SAFETY: `wanted` is a C string that outlives the call; the rest is as `entry` describes.
            let entry =
                entry(|record, buffer, len, found| unsafe { libc::getpwnam_r(wanted.as_ptr(), record, buffer, len, found) }, to_entry);
            let entry = entry.map_err(failed)?.ok_or_else(unknown)?;
            // An entry of that number would mean whoever the agent is.
            if entry.uid == u32::MAX || entry.gid == u32::MAX { Err(unknown()) } else { Ok((entry.uid, Some(entry))) }
        }
    }
}

fn by_uid(uid: u32) -> io::Result<Option<Entry>> {
    // SAFETY: as `entry` describes.
    entry(|record, buffer, len, found| unsafe { libc::getpwuid_r(uid, record, buffer, len, found) }, to_entry)
}

fn find_group(name: &str) -> Result<u32, Error> {
    let unknown = || Error::Unknown { what: "group", name: name.to_owned() };
    match number(name) {
        Some(u32::MAX) => Err(unknown()),
        Some(gid) => Ok(gid),
        None => {
            let wanted = CString::new(name).map_err(|_| unknown())?;
            // SAFETY: `wanted` is a C string that outlives the call; the rest is as `entry` describes.
            let gid = entry(
                |record, buffer, len, found| unsafe { libc::getgrnam_r(wanted.as_ptr(), record, buffer, len, found) },
                |record: &libc::group| record.gr_gid,
            );
            let gid = gid.map_err(|source| Error::LookUp { what: "group", name: name.to_owned(), source })?;
            gid.filter(|gid| *gid != u32::MAX).ok_or_else(unknown)
        }
    }
}

fn to_entry(record: &libc::passwd) -> Entry {
    // SAFETY: the database gives C strings, which lie in the buffer that the caller still has.
    let text =
        |pointer: *const libc::c_char| if pointer.is_null() { CString::default() } else { unsafe { CStr::from_ptr(pointer) }.to_owned() };
    let home = text(record.pw_dir).to_string_lossy().into_owned();
    Entry { name: text(record.pw_name), home, uid: record.pw_uid, gid: record.pw_gid }
}

/// Looks something up with one of the calls of getpwnam_r(3), which take a record, a buffer with its length for what the record points to,
/// and a place for the pointer that says whether there is one; all of them live until `read` has read the record.
fn entry<T, R>(
    look_up: impl Fn(*mut T, *mut libc::c_char, usize, *mut *mut T) -> libc::c_int,
    read: impl Fn(&T) -> R,
) -> io::Result<Option<R>> {
    let mut buffer = vec![0; ENTRY_BYTES_MIN];
    loop {
        let mut record = std::mem::MaybeUninit::<T>::uninit();
        let mut found = std::ptr::null_mut();
        match look_up(record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found) {
            // SAFETY: the call has filled the record in and says so by this pointer to it.
            0 => return Ok(if found.is_null() { None } else { Some(read(unsafe { &*found })) }),
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            // These too are how some name services say that there is no such entry (getpwnam(3)).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// All groups of a user, the first one among them.
fn groups_of(name: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![gid; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `groups` has room for `count` numbers; the call writes no more and says how many there are.
        let fits = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        if fits || groups.len() >= GROUPS_MAX {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return groups;
        }
        groups.resize((groups.len() * 4).min(GROUPS_MAX), gid);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn run_as(user: Option<&str>, group: Option<&str>) -> RunAs {
        RunAs { user: user.map(str::to_owned), group: group.map(str::to_owned), ..RunAs::default() }
    }

    #[test]
    fn who_is_not_there_is_an_error_that_names_them() {
        for (user, group, named) in [
            (Some("no-such-user-here"), None, "run_as.user is \"no-such-user-here\""),
            (None, Some("no-such-group-here"), "run_as.group is \"no-such-group-here\""),
            // To the system this number means that nothing is to change.
            (Some("4294967295"), Some("0"), "run_as.user is \"4294967295\""),
            (Some("0"), Some("4294967295"), "run_as.group is \"4294967295\""),
            (Some("99999999999999"), None, "run_as.user is \"99999999999999\""),
            (Some("3999999999"), None, "run_as.user is 3999999999, of which"),
        ] {
            let error = User::of(&run_as(user, group)).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn nobody_asked_for_is_nobody_else() {
        assert_eq!(User::of(&RunAs::default()).unwrap(), None);
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number_alike() {
        if !getuid().is_root() {
            let error = User::of(&run_as(Some("root"), None)).unwrap_err();
            assert!(matches!(error, Error::NotRoot { .. }), "{error}");
            let own = getuid().as_raw().to_string();
            assert_eq!(User::of(&run_as(Some(&own), Some(&getgid().as_raw().to_string()))).unwrap(), None);
            return;
        }
        let by_name = User::of(&run_as(Some("root"), None)).unwrap().unwrap();
        assert_eq!(User::of(&run_as(Some("0"), None)).unwrap().unwrap(), by_name);
        assert!(by_name.variables().contains(&("USER", "root".to_owned())));
        let other = User::of(&run_as(Some("3999999999"), Some("12345"))).unwrap().unwrap();
        assert_eq!(
            (other.uid, other.gid, other.groups.as_slice(), other.variables().len()),
            (3_999_999_999, 12_345, &[Gid::from_raw(12_345)][..], 0)
        );
        let group_only = User::of(&run_as(None, Some("12345"))).unwrap().unwrap();
        assert!(group_only.uid == 0 && group_only.gid == 12_345 && group_only.variables().is_empty());
    }
}
