//! Where an agent finds the guardian that outlived the one before it: a socket in the runtime directory.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, getuid, pidfd_open};

use super::process::variable_of;
use super::spawn::{GuardianProcess, GuardianSocket};
use crate::guardian::GUARDIAN_VARIABLE;
use crate::guardian::hello::{Answer, Program};
use crate::guardian::protocol::encode;

/// Its name.
const NAME: &str = "guardian";
/// One agent at a time; a few may come and go while the guardian is busy.
pub const BACKLOG: i32 = 4;

/// The socket's path.
pub fn path(runtime: &Path) -> PathBuf {
    runtime.join(NAME)
}

/// The path of a socket has room for 107 bytes (unix(7)), that of a runtime directory is of any length: it is gone through a descriptor.
fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

/// Makes the socket that a guardian is to wait at.
pub fn bind(runtime: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path(runtime)) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let directory = File::open(runtime)?;
    let listener = UnixListener::bind(short_path(&directory))?;
    fs::set_permissions(path(runtime), Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to whoever waits there; `None` where nobody does.
pub fn connect(runtime: &Path) -> io::Result<Option<UnixStream>> {
    let directory = File::open(runtime)?;
    match UnixStream::connect(short_path(&directory)) {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The guardian that waits there, if it is the one with this mark and this user's own.
pub(crate) fn find_guardian(runtime: &Path, mark: &str) -> io::Result<Option<(GuardianProcess, GuardianSocket)>> {
    let Some(stream) = connect(runtime)? else { return Ok(None) };
    let peer = socket_peercred(&stream)?;
    let pidfd = match pidfd_open(peer.pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // It ended just now.
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if peer.uid != getuid() && !peer.uid.is_root() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "another user waits at the socket of its guardian"));
    }
    if variable_of(peer.pid, GUARDIAN_VARIABLE).is_none_or(|found| found != mark) {
        return Ok(None);
    }
    stream.set_nonblocking(true)?;
    Ok(Some((GuardianProcess::new(peer.pid.as_raw_nonzero().get().unsigned_abs(), pidfd), GuardianSocket::from_std(stream)?)))
}

/// Tells a guardian that waits there to end, with all that it has. Whether it does is for the caller to see.
pub(crate) fn dismiss_guardian(runtime: &Path) {
    // It reads an answer to what it says first, whether that was read or not.
    if let Ok(Some(mut stream)) = connect(runtime)
        && let Ok(line) = encode(&Answer::End {})
    {
        let _ = stream.write_all(&line);
    }
}

/// Removes the socket.
pub(crate) fn remove_socket(runtime: &Path) {
    let _ = fs::remove_file(path(runtime));
}

/// The file that this process runs.
pub(crate) fn this_program() -> io::Result<Program> {
    let file = fs::metadata("/proc/self/exe")?;
    Ok(Program { device: file.dev(), inode: file.ino() })
}
