//! Limits that each process of a replica has for itself: open files, core size, nice, class of io. Set between fork and exec, and inherited.

use std::io;

use cluster::io_class::IoClass;
use cluster::limits::{ENFORCED, Enforcement, Limits};
use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit};

/// Open files of a replica, unless its spec asks for another number.
const FILES: u64 = 1_024;
/// `which` of ioprio_set(2): one thread.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// What is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnLimits {
    files: u64,
    core_bytes: Option<u64>,
    nice: Option<i32>,
    /// As ioprio_set(2) takes it.
    io: Option<libc::c_int>,
}

impl OwnLimits {
    /// What of this can be set here, and what came of each. This process tries what it may do on itself, and takes it back.
    pub fn judge(limits: &Limits) -> (Self, Enforcement) {
        let mut said = Enforcement::new();
        let mut note = |name: &str, refused: Option<String>| {
            said.insert(name.to_owned(), refused.map_or_else(|| ENFORCED.to_owned(), |why| format!("not enforced: {why}")));
        };
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let mut own = OwnLimits { files: FILES.min(most), core_bytes: None, nice: None, io: None };
        if let Some(files) = limits.open_files {
            let may = may_set(Resource::Nofile, files);
            own.files = if may { files } else { most };
            note("open_files", (!may).then(|| format!("its agent may give it {most} at most")));
        }
        if let Some(bytes) = limits.core_bytes {
            let may = may_set(Resource::Core, bytes);
            own.core_bytes = may.then_some(bytes);
            let most = getrlimit(Resource::Core).maximum.unwrap_or(u64::MAX);
            note("core_bytes", (!may).then(|| format!("its agent may give it {most} at most")));
        }
        if let Some(nice) = limits.nice {
            let may = may_be(nice);
            own.nice = may.then_some(nice);
            note("nice", (!may).then(|| "its agent's user may not raise a priority".to_owned()));
        }
        if let Some(class) = limits.io {
            let value = io_value(class);
            let refused = may_have_io(value).err();
            own.io = refused.is_none().then_some(value);
            note("io", refused.map(|e| format!("its agent's user may not ask for it: {e}")));
        }
        (own, said)
    }

    /// Sets them for this process. System calls only: it is used between fork and exec.
    pub fn set(self) -> std::io::Result<()> {
        setrlimit(Resource::Nofile, both(self.files))?;
        if let Some(bytes) = self.core_bytes {
            setrlimit(Resource::Core, both(bytes))?;
        }
        if let Some(nice) = self.nice {
            setpriority_process(None, nice)?;
        }
        if let Some(value) = self.io {
            set_io(value)?;
        }
        Ok(())
    }
}

/// The class in the upper three of sixteen bits, its level below (ioprio_set(2)).
fn io_value(class: IoClass) -> libc::c_int {
    let (class, level) = match class {
        IoClass::Realtime(level) => (1, level),
        IoClass::BestEffort(level) => (2, level),
        IoClass::Idle => (3, 0),
    };
    class << 13 | libc::c_int::from(level)
}

fn set_io(value: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory; 0 means this thread.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tries it on this process, which gets back what it had.
fn may_have_io(value: libc::c_int) -> io::Result<()> {
    // SAFETY: as above.
    let before = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    let before = libc::c_int::try_from(before).ok().filter(|before| *before >= 0).ok_or_else(io::Error::last_os_error)?;
    set_io(value)?;
    set_io(before)
}

fn both(value: u64) -> Rlimit {
    Rlimit { current: Some(value), maximum: Some(value) }
}

/// A hard limit can always be lowered. Only a privileged process raises it, and some only as far as the system says.
fn may_set(resource: Resource, value: u64) -> bool {
    let before = getrlimit(resource);
    if before.maximum.is_none_or(|most| value <= most) {
        return true;
    }
    let may = setrlimit(resource, Rlimit { current: before.current, maximum: Some(value) }).is_ok();
    if may {
        // It only ever gets back what it had.
        let _ = setrlimit(resource, before);
    }
    may
}

/// Being nicer is always allowed; so is getting back to where it was.
fn may_be(nice: i32) -> bool {
    match getpriority_process(None) {
        Ok(before) if nice < before => {
            let may = setpriority_process(None, nice).is_ok();
            if may {
                let _ = setpriority_process(None, before);
            }
            may
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_asked_is_the_default_and_nothing_to_say() {
        let (own, said) = OwnLimits::judge(&Limits::default());
        assert_eq!((own.core_bytes, own.nice, said.len()), (None, None, 0));
        assert!(own.files <= FILES);
    }

    #[test]
    fn judging_changes_nothing_and_says_what_holds() {
        let before = (getrlimit(Resource::Nofile), getrlimit(Resource::Core), getpriority_process(None).unwrap());
        let asked =
            Limits { open_files: Some(u64::MAX), core_bytes: Some(0), nice: Some(-20), io: Some(IoClass::Idle), ..Limits::default() };
        let (own, said) = OwnLimits::judge(&asked);
        assert_eq!((getrlimit(Resource::Nofile), getrlimit(Resource::Core), getpriority_process(None).unwrap()), before);
        // No kernel allows so many.
        assert!(said["open_files"].starts_with("not enforced: its agent may give it "), "{said:?}");
        assert_eq!((said["core_bytes"].as_str(), own.core_bytes), (ENFORCED, Some(0)));
        assert_eq!(said["nice"] == ENFORCED, own.nice == Some(-20));
        assert_eq!((said["io"].as_str(), own.io), (ENFORCED, Some(3 << 13)));
    }
}
