//! Between fork and exec: how a replica's process is started.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use super::clone_into::start_into;
use super::own_limits::OwnLimits;
use super::spawn::{detach, to_pid};
use super::surroundings::{Step, Surroundings};
use crate::guardian::protocol::Spawn;

/// Room for the digits of any pid.
const PID_DIGITS: usize = 10;
const LISTEN_PID: &str = "LISTEN_PID=";

/// How a process gets into its cgroups.
#[derive(Debug, Default)]
pub struct Entrance {
    /// The directory of the first, if it is one that a process can be started in.
    pub into: Option<OwnedFd>,
    /// The doors of all of them: see `Tree::door`.
    pub doors: Vec<OwnedFd>,
}

/// Why a process was not started.
#[derive(Debug)]
pub enum NotBorn {
    /// Something that its spec asks for cannot be had: a sentence.
    Refused(String),
    /// The system refused.
    System(io::Error),
}

impl From<io::Error> for NotBorn {
    fn from(error: io::Error) -> Self {
        NotBorn::System(error)
    }
}

impl From<NotBorn> for io::Error {
    fn from(why: NotBorn) -> io::Error {
        match why {
            NotBorn::Refused(sentence) => io::Error::other(sentence),
            NotBorn::System(error) => error,
        }
    }
}

/// Starts the process of an attempt, as a child of this one, which must have one thread. It is in its cgroups before it runs anything
/// that is not of this program, so nothing that it starts is outside.
pub fn start_replica(
    spawn: &Spawn,
    own: OwnLimits,
    surroundings: &Arc<Surroundings>,
    entrance: Entrance,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Pid, NotBorn> {
    // A child that fails says by its exit which error it was, and here at which step.
    let (step, say_step) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io::Error::from)?;
    match start(spawn, own, Arc::clone(surroundings), entrance, (stdout, stderr), say_step) {
        Ok(pid) => Ok(pid),
        Err(e) => {
            let mut failed = [0];
            let has_step = std::fs::File::from(step).read_exact(&mut failed).is_ok();
            if let Some(sentence) = surroundings.sentence(failed[0], &e).filter(|_| has_step) {
                return Err(NotBorn::Refused(sentence));
            }
            match surroundings.hint().filter(|_| e.kind() == io::ErrorKind::PermissionDenied && !has_step) {
                Some(hint) => Err(NotBorn::Refused(format!("{e}; {hint}"))),
                None => Err(NotBorn::System(e)),
            }
        }
    }
}

fn start(
    spawn: &Spawn,
    own: OwnLimits,
    surroundings: Arc<Surroundings>,
    entrance: Entrance,
    (stdout, stderr): (OwnedFd, OwnedFd),
    say_step: OwnedFd,
) -> io::Result<Pid> {
    let guardian = getpid();
    let Entrance { into, doors } = entrance;
    let is_born_inside = Arc::new(AtomicBool::new(into.is_some()));
    let through = Arc::clone(&is_born_inside);
    let mut env: BTreeMap<&str, &str> = spawn.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.extend(surroundings.variables().iter().map(|(name, value)| (*name, value.as_str())));
    let mut command = Command::new(&spawn.program);
    command.args(&spawn.args).env_clear().envs(&env).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut image = if surroundings.has_socket() { Some(Image::new(spawn, &env)?) } else { None };
    let failed = move |step: Step, error: io::Error| {
        // Where this cannot be said the error alone has to do.
        let _ = rustix::io::write(&say_step, &[step as u8]);
        error
    };
    let prepare = move || {
        for door in doors.get(usize::from(through.load(Ordering::Relaxed))..).unwrap_or_default() {
            rustix::io::write(door, b"0").map_err(|e| failed(Step::Cgroup, e.into()))?;
        }
        detach()?;
        // A higher limit or priority may need a right that its user does not have.
        own.set()?;
        surroundings.put_on().map_err(|(step, e)| failed(step, e))?;
        // A change of user would clear it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(guardian) {
            // The guardian died before the signal was set, so that it would never come.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        match &mut image {
            Some(image) => Err(image.execute()),
            None => Ok(()),
        }
    };
    // SAFETY: `prepare` makes system calls only, each of them async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    if let Some(into) = into
        && let Some(pid) = start_into(into.as_fd(), &mut command)?
    {
        return Ok(pid);
    }
    is_born_inside.store(false, Ordering::Relaxed);
    // The handle is let go: all children are reaped in one place.
    to_pid(command.spawn()?.id())
}

/// A program with arguments and environment as execve(2) wants them, and a place in it for what is known in the child alone: its pid.
struct Image {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// `LISTEN_PID=`, the digits and NUL.
    listen_pid: [u8; LISTEN_PID.len() + PID_DIGITS + 1],
    arg_pointers: Vec<*const libc::c_char>,
    env_pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead into its own strings, which nobody changes; it is used by one thread at a time.
unsafe impl Send for Image {}
// SAFETY: as above; what is shared of it is only read.
unsafe impl Sync for Image {}

impl Image {
    fn new(spawn: &Spawn, env: &BTreeMap<&str, &str>) -> io::Result<Self> {
        let c = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
        let program = c(spawn.program.as_os_str())?;
        let args = [Ok(program.clone())].into_iter().chain(spawn.args.iter().map(|arg| c(arg.as_ref()))).collect::<io::Result<Vec<_>>>()?;
        let variables = env.iter().filter(|(name, _)| **name != "LISTEN_PID").map(|(name, value)| c(format!("{name}={value}").as_ref()));
        let env = variables.collect::<io::Result<Vec<_>>>()?;
        let mut image = Image {
            program,
            args,
            env,
            listen_pid: [0; LISTEN_PID.len() + PID_DIGITS + 1],
            arg_pointers: Vec::new(),
            env_pointers: Vec::new(),
        };
        image.listen_pid[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID.as_bytes());
        image.arg_pointers = image.args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
        // The place before the last is set in the child, where this lies by then.
        image.env_pointers = image.env.iter().map(|variable| variable.as_ptr()).chain([std::ptr::null(), std::ptr::null()]).collect();
        Ok(image)
    }

    /// Executes it. Returns only if that fails.
    fn execute(&mut self) -> io::Error {
        let digits = write_digits(getpid(), &mut self.listen_pid[LISTEN_PID.len()..]);
        if let Some(end) = self.listen_pid.get_mut(LISTEN_PID.len() + digits) {
            *end = 0;
        }
        let place = self.env_pointers.len().saturating_sub(2);
        if let Some(pointer) = self.env_pointers.get_mut(place) {
            *pointer = self.listen_pid.as_ptr().cast();
        }
        // SAFETY: all pointers lead to strings with a NUL at their end that live in `self`, and a null pointer ends both lists. It does
        // what `Command` does with a path: a script without an interpreter is given to the shell.
        unsafe { libc::execvpe(self.program.as_ptr(), self.arg_pointers.as_ptr(), self.env_pointers.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// The pid in decimal, at the front of `into`: how many digits it has.
fn write_digits(pid: Pid, into: &mut [u8]) -> usize {
    let mut rest = pid.as_raw_nonzero().get().unsigned_abs();
    let mut len = 0;
    for byte in into.iter_mut().take(PID_DIGITS) {
        *byte = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        len += 1;
        if rest == 0 {
            break;
        }
    }
    into[..len].reverse();
    len
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_pid_is_written_as_people_do() {
        for pid in [1, 9, 10, 4_194_304, i32::MAX] {
            let mut digits = [b'x'; PID_DIGITS + 1];
            let len = write_digits(Pid::from_raw(pid).unwrap(), &mut digits);
            assert_eq!(std::str::from_utf8(&digits[..len]).unwrap(), pid.to_string());
        }
    }
}
