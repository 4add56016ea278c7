//! The socket that a replica says `READY=1` and `WATCHDOG=1` to (sd_notify(3)), and whose words count.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::process::stat;

/// The longest message; the rest of a longer one is cut off.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Between two messages of strangers.
const STRANGER_PAUSE: Duration = Duration::from_millis(10);
/// No tree of processes is deeper.
const DEPTH_MAX: usize = 64;

/// A socket of one attempt of a replica. Its file is replaced by that of the next one, and goes with the directory: this one may be let go
/// after the next was made.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    /// Makes it at `path`, in place of what lies there: that of an attempt that is over, or of the agent before this one.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let before = std::fs::symlink_metadata(path);
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        // Its replica's user may get it; nobody else is to speak here.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        if let Ok(before) = before {
            // One that has run on speaks up as the user that it is.
            std::os::unix::fs::lchown(path, Some(before.uid()), Some(before.gid()))?;
        }
        set_socket_passcred(&socket, true)?;
        Ok(NotifySocket { socket, path: path.to_owned() })
    }

    /// The next message of a process of the tree below `root`, or of its session. What others say is left out. A sender that is gone
    /// already cannot be told from a stranger.
    pub async fn next(&self, root: u32) -> io::Result<String> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || self.receive()) {
                Ok((Some(sender), message)) if is_in_tree(sender, root) => return Ok(message),
                Ok((sender, _)) => {
                    tracing::warn!(path = %self.path.display(), sender = sender.map(Pid::as_raw_pid), "left out what a stranger said");
                    // It may go on for ever; everybody else has a turn as well.
                    tokio::time::sleep(STRANGER_PAUSE).await;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// One message and who sent it, as the system says. Open files that come with it are closed by the system, since there is
    /// no room for them: that is what `systemd-notify` waits for.
    fn receive(&self) -> io::Result<(Option<Pid>, String)> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?;
        let sender = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(from) => Some(from.pid),
            _ => None,
        });
        Ok((sender, String::from_utf8_lossy(bytes.get(..got.bytes).unwrap_or_default()).into_owned()))
    }
}

fn is_in_tree(pid: Pid, root: u32) -> bool {
    let Ok(root) = i32::try_from(root) else { return false };
    let mut at = Some(pid);
    for _ in 0..DEPTH_MAX {
        let Some(pid) = at else { return false };
        if pid.as_raw_nonzero().get() == root {
            return true;
        }
        let Some(seen) = stat(pid) else { return false };
        if seen.session == root {
            return true;
        }
        at = Pid::from_raw(seen.parent);
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixDatagram as StdDatagram;
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn only_the_tree_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        let stranger = StdDatagram::unbound().unwrap();
        let mut child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap();
        stranger.send_to(b"READY=1", &path).unwrap();
        // This process is no child of its child.
        assert!(tokio::time::timeout(Duration::from_millis(200), socket.next(child.id())).await.is_err());
        stranger.send_to(b"READY=1\nSTATUS=x", &path).unwrap();
        assert_eq!(socket.next(std::process::id()).await.unwrap(), "READY=1\nSTATUS=x");
        child.kill().unwrap();
        child.wait().unwrap();
        // What an attempt before it left is no obstacle.
        NotifySocket::bind(&path).unwrap();
    }
}
