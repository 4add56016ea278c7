//! As whom, where and with what a replica's process runs: made ready before the process is there, put on in between fork and exec.
//!
//! Whatever cannot be had as the spec asks for it is an error, and nothing is started.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cluster::limits::Enforcement;
use cluster::run_as::SANDBOX;
use rustix::fs::{AtFlags, CWD, Mode, chownat};
use rustix::process::{chdir, umask};
use rustix::thread::set_no_new_privs;

use super::landlock::Ruleset;
use super::sandbox::{self, Own};
use super::user::User;
use super::{output, private_tmp};
use crate::guardian::protocol::Spawn;
use crate::runtime_dir::NOTIFY_SOCKET;

/// The descriptor of the first socket that is handed over (`SD_LISTEN_FDS_START`, sd_listen_fds(3)).
const LISTEN_FD: i32 = 3;

/// What a process puts on.
#[derive(Debug)]
pub struct Surroundings {
    user: Option<User>,
    umask: Option<Mode>,
    working_dir: Option<(PathBuf, CString)>,
    no_new_privs: bool,
    rules: Option<Ruleset>,
    socket: Option<OwnedFd>,
    /// Beside those of the spec.
    variables: Vec<(&'static str, String)>,
}

/// A socket to hand over, with its port and its name.
#[derive(Clone, Copy, Debug)]
pub struct Listening<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// Its port.
    pub port: u16,
    /// `LISTEN_FDNAMES`.
    pub name: &'a str,
}

/// A step that failed between fork and exec, where there is no other way to say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// It has not become its user.
    User = 1,
    /// It is not in its working directory.
    Directory,
    /// It may still gain privileges.
    NoNewPrivs,
    /// It is not in its sandbox.
    Sandbox,
    /// It does not have its socket.
    Socket,
    /// It was not let into a cgroup.
    Cgroup,
}

impl Surroundings {
    /// Makes everything ready for a process of this attempt, and says what came of its sandbox.
    ///
    /// # Errors
    /// A sentence about what of the spec cannot be had.
    pub fn prepare(spawn: &Spawn, listening: Option<Listening<'_>>) -> io::Result<(Self, Enforcement)> {
        let run_as = &spawn.run_as;
        let user = User::of(run_as).map_err(io::Error::other)?;
        if let Some(user) = &user {
            give(&spawn.directory, user)?;
        }
        let tmp = spawn.private_tmp.as_deref().map(|path| private_tmp::make(path, &spawn.directory, user.as_ref())).transpose()?;
        let own_dir = run_as.working_dir.as_ref().map(PathBuf::from);
        // In a sandbox the agent's own directory is of no use.
        let in_sandbox = || spawn.sandbox.as_ref().and(spawn.private_tmp.clone());
        let working_dir = own_dir.clone().or_else(|| spawn.artifact.clone()).or_else(in_sandbox);
        let mut said = Enforcement::new();
        let mut rules = None;
        if let Some(sandbox) = &spawn.sandbox {
            let pipes = output::pipes(&spawn.directory);
            let own = Own {
                program: &spawn.program,
                pipes,
                artifact: spawn.artifact.as_deref(),
                working_dir: own_dir.as_deref(),
                tmp: tmp.as_ref(),
            };
            let (made, words) = sandbox::rules(sandbox, &own)?;
            rules = made;
            said.insert(SANDBOX.to_owned(), words);
        }
        let mut variables: Vec<(&'static str, String)> =
            user.iter().flat_map(User::variables).filter(|(name, _)| !spawn.env.contains_key(*name)).collect();
        if let Some(Listening { port, name, .. }) = listening {
            variables.push(("PORT", port.to_string()));
            variables.extend([("LISTEN_FDS", "1".to_owned()), ("LISTEN_FDNAMES", name.to_owned())]);
        }
        let surroundings = Surroundings {
            user,
            umask: run_as.umask.map(Mode::from_raw_mode),
            working_dir: working_dir.map(|path| to_c(&path).map(|text| (path, text))).transpose()?,
            no_new_privs: run_as.no_new_privs || spawn.sandbox.is_some(),
            rules,
            socket: listening.map(|listening| listening.socket.try_clone_to_owned()).transpose()?,
            variables,
        };
        Ok((surroundings, said))
    }

    /// What its environment holds beside what the agent said.
    pub fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    /// Its `LISTEN_PID` is to be set: a socket is handed over.
    pub fn has_socket(&self) -> bool {
        self.socket.is_some()
    }

    /// Puts it on: this process has one thread, and is to execute a replica's program. System calls only.
    ///
    /// # Errors
    /// Which step failed, and how.
    pub fn put_on(&self) -> Result<(), (Step, io::Error)> {
        if let Some(socket) = &self.socket {
            hand_over(socket).map_err(|e| (Step::Socket, e))?;
        }
        if let Some(user) = &self.user {
            user.put_on().map_err(|e| (Step::User, e))?;
        }
        if let Some(mode) = self.umask {
            umask(mode);
        }
        if let Some((_, path)) = &self.working_dir {
            chdir(path.as_c_str()).map_err(|e| (Step::Directory, e.into()))?;
        }
        if self.no_new_privs {
            set_no_new_privs(true).map_err(|e| (Step::NoNewPrivs, e.into()))?;
        }
        match &self.rules {
            Some(rules) => rules.enforce().map_err(|e| (Step::Sandbox, e)),
            None => Ok(()),
        }
    }

    /// A step that failed, as a sentence, if it is one of these.
    pub fn sentence(&self, step: u8, error: &io::Error) -> Option<String> {
        let steps = [Step::User, Step::Directory, Step::NoNewPrivs, Step::Sandbox, Step::Socket, Step::Cgroup];
        let failed = steps.into_iter().find(|known| *known as u8 == step)?;
        Some(match failed {
            Step::User => format!("it cannot run as run_as.user and run_as.group say: {error}"),
            Step::Directory => {
                let path = self.working_dir.as_ref().map(|(path, _)| path.display().to_string()).unwrap_or_default();
                format!("its working directory {path} cannot be entered: {error}")
            }
            Step::NoNewPrivs => format!("it cannot be kept from gaining privileges: {error}"),
            Step::Sandbox => format!("its sandbox cannot be entered: {error}"),
            Step::Socket => format!("its socket cannot be handed over: {error}"),
            Step::Cgroup => return None,
        })
    }

    /// What else may keep a program from being run, in words.
    pub fn hint(&self) -> Option<&'static str> {
        match (&self.user, &self.rules) {
            (Some(_), Some(_)) => {
                Some("the user of run_as must be able to read and run it and all that it needs, and the sandbox must allow that")
            }
            (Some(_), None) => Some("the user of run_as must be able to reach and run it"),
            (None, Some(_)) => Some("the sandbox must allow its interpreter to be read"),
            (None, None) => None,
        }
    }
}

/// What lies in the replica's directory for it becomes its user's.
fn give(directory: &Path, user: &User) -> io::Result<()> {
    for path in output::pipes(directory).into_iter().chain([directory.join(NOTIFY_SOCKET)]) {
        match chownat(CWD, &path, Some(user.uid()), Some(user.gid()), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => {}
            Err(e) => return Err(io::Error::other(format!("{} cannot be given to its user: {e}", path.display()))),
        }
    }
    Ok(())
}

/// Where a program looks for it. The guardian keeps that number taken, so nothing that is still needed lies there.
fn hand_over(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: what was open at that number in this process, a copy of the guardian's, is not used any more.
    if unsafe { libc::dup2(socket.as_raw_fd(), LISTEN_FD) } == LISTEN_FD { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the number at which sockets are handed over, if it is free: nothing that a start needs may lie there. For as long as this
/// lives.
pub fn take_listen_fd(any: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let taken = rustix::io::fcntl_dupfd_cloexec(any, LISTEN_FD)?;
    Ok((taken.as_raw_fd() == LISTEN_FD).then_some(taken))
}

fn to_c(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
