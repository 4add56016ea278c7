//! A program with its arguments and environment, as execve(2) wants them.
//!
//! The standard library executes by execvp(3), which gives a file that the kernel does not know as a program to `/bin/sh`: a program of
//! another machine would then fail with whatever a shell makes of its bytes. Here it fails with ENOEXEC. And there is a place in it for what
//! is known in the child alone: its pid.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, getpid};

/// Room for the digits of any pid.
const PID_DIGITS: usize = 10;
const LISTEN_PID: &str = "LISTEN_PID=";

/// What execve(2) is told.
#[derive(Debug)]
pub struct Image {
    program: CString,
    /// What `args` points to.
    _args: Vec<CString>,
    /// What `env` points to.
    _env: Vec<CString>,
    args: Vec<*const libc::c_char>,
    /// With a place before its end for `listen_pid`, if it has one.
    env: Vec<*const libc::c_char>,
    /// `LISTEN_PID=`, the digits and NUL.
    listen_pid: Option<[u8; LISTEN_PID.len() + PID_DIGITS + 1]>,
}

// SAFETY: the pointers lead into its own strings, which nobody changes; it is used by one thread at a time.
unsafe impl Send for Image {}
// SAFETY: as above; what is shared of it is only read.
unsafe impl Sync for Image {}

impl Image {
    /// Of this program; `has_sockets`: it is told its pid (sd_listen_fds(3)).
    pub fn new(program: &Path, args: &[String], env: &BTreeMap<&str, &str>, has_sockets: bool) -> io::Result<Self> {
        let c = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
        let program = c(program.as_os_str())?;
        let args = [Ok(program.clone())].into_iter().chain(args.iter().map(|arg| c(arg.as_ref()))).collect::<io::Result<Vec<_>>>()?;
        let variables = env.iter().filter(|(name, _)| !has_sockets || **name != "LISTEN_PID");
        let env = variables.map(|(name, value)| c(format!("{name}={value}").as_ref())).collect::<io::Result<Vec<_>>>()?;
        let pointers = |texts: &[CString], rest: usize| {
            texts.iter().map(|text| text.as_ptr()).chain(std::iter::repeat_n(std::ptr::null(), rest)).collect()
        };
        let listen_pid = has_sockets.then(|| {
            let mut variable = [0; LISTEN_PID.len() + PID_DIGITS + 1];
            variable[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID.as_bytes());
            variable
        });
        Ok(Image {
            args: pointers(&args, 1),
            env: pointers(&env, 1 + usize::from(has_sockets)),
            program,
            _args: args,
            _env: env,
            listen_pid,
        })
    }

    /// Becomes it; returns only if that fails. It allocates nothing.
    pub fn execute(&mut self) -> io::Error {
        if let Some(variable) = &mut self.listen_pid {
            let digits = write_digits(getpid(), &mut variable[LISTEN_PID.len()..]);
            if let Some(end) = variable.get_mut(LISTEN_PID.len() + digits) {
                *end = 0;
            }
            let place = self.env.len().saturating_sub(2);
            if let Some(pointer) = self.env.get_mut(place) {
                // It lies here to the end: this is the child.
                *pointer = variable.as_ptr().cast();
            }
        }
        // SAFETY: all pointers lead to strings with a NUL at their end that live in `self`, and a null pointer ends both lists.
        unsafe { libc::execve(self.program.as_ptr(), self.args.as_ptr(), self.env.as_ptr()) };
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
