//! Between fork and exec: how a replica's process is started.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use super::clone_into::start_into;
use super::image::Image;
use super::own_limits::OwnLimits;
use super::spawn::{detach, to_pid};
use super::surroundings::{Step, Surroundings};
use crate::guardian::KEEP_VARIABLE;
use crate::guardian::protocol::Spawn;

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
    // One that outlives its agent is itself outlived by its replicas.
    let is_kept = std::env::var_os(KEEP_VARIABLE).is_some();
    let Entrance { into, doors } = entrance;
    let is_born_inside = Arc::new(AtomicBool::new(into.is_some()));
    let through = Arc::clone(&is_born_inside);
    let mut env: BTreeMap<&str, &str> = spawn.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.extend(surroundings.variables().iter().map(|(name, value)| (*name, value.as_str())));
    let mut command = Command::new(&spawn.program);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut image = Image::new(&spawn.program, &spawn.args, &env, surroundings.has_socket())?;
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
        if !is_kept {
            // A change of user would clear it.
            set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        if getppid() != Some(guardian) {
            // The guardian died before the signal was set, so that it would never come.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Err(image.execute())
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
