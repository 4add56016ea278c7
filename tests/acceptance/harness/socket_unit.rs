//! A listening socket that outlives the program it is handed to: sd_listen_fds(3), with this test in the place of systemd.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::home::Home;

/// The socket comes as stdin and leaves as descriptor 3; the process that the variables name is the one that the shell becomes.
const HAND_OVER: &str = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=ostler.socket; exec \"$@\"";

/// A socket that is kept.
#[derive(Debug)]
pub struct SocketUnit {
    listener: TcpListener,
}

impl SocketUnit {
    /// On a free port.
    pub fn open() -> Self {
        SocketUnit { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// A command that starts a program with it.
    pub fn command(&self, home: &Home, program: &str) -> Command {
        let mut command = home.command("/bin/sh");
        command.args(["-c", HAND_OVER, "sh", program]).stdin(Stdio::from(OwnedFd::from(self.listener.try_clone().unwrap())));
        command
    }
}
