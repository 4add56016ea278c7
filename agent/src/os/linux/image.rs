//! A program with its arguments and environment, as execve(2) wants them.
//!
//! The standard library executes by execvp(3), which gives a file that the kernel does not know as a program to `/bin/sh`: a program of
//! another machine would then fail with whatever a shell makes of its bytes. Here it fails with ENOEXEC.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What execve(2) is told.
#[derive(Debug)]
pub struct Image {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// Of this program.
    pub fn new(program: &Path, args: &[String], env: &BTreeMap<String, String>) -> Result<Self, NulError> {
        let program = CString::new(program.as_os_str().as_bytes())?;
        let args = [Ok(program.clone())].into_iter().chain(args.iter().map(|arg| CString::new(arg.as_str()))).collect::<Result<_, _>>()?;
        let env = env.iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect::<Result<_, _>>()?;
        Ok(Image { program, args, env })
    }

    /// Becomes it; returns only if that fails. In a child of a process of one thread, where it may allocate.
    pub fn execute(&self) -> io::Error {
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        // SAFETY: all texts end with NUL, both lists with a null pointer, and they live as long as this call.
        unsafe { libc::execve(self.program.as_ptr(), args.as_ptr(), env.as_ptr()) };
        io::Error::last_os_error()
    }
}
