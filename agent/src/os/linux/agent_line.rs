//! A guardian's end of the line to its agent, and where the next agent comes in if it is to outlive this one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;
use serde::Serialize;

use super::rendezvous;
use crate::guardian::KEEP_VARIABLE;
use crate::guardian::hello::Hello;
use crate::guardian::protocol::{LINE_BYTES_MAX, encode};

/// After somebody could not be let in.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The numbers of its events.
pub const AGENT: u64 = 0;
pub const LISTENER: u64 = 2;

/// The line to the agent.
#[derive(Debug)]
pub struct AgentLine {
    stream: Option<UnixStream>,
    /// Where the next agent comes in; its path.
    listener: Option<(UnixListener, PathBuf)>,
    from: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
    to: Vec<u8>,
    /// It has said that it wants to go on with what is here.
    pub has_begun: bool,
}

/// What was heard.
pub enum Heard {
    /// This line.
    Line(Vec<u8>),
    /// Nothing more for now.
    Nothing,
    /// It is gone.
    Gone,
}

impl AgentLine {
    /// The line that a guardian is started with: its standard input.
    pub fn open(epoll: &OwnedFd) -> io::Result<Self> {
        if !std::fs::read_link("/proc/self/fd/0").is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            return Err(io::Error::other("standard input is not a socket"));
        }
        // SAFETY: descriptor 0 is open, as was just seen. Nothing else in this process uses it.
        let stdin = unsafe { OwnedFd::from_raw_fd(0) };
        let mut line = AgentLine { stream: None, listener: None, from: vec![], lines: VecDeque::new(), to: vec![], has_begun: true };
        match std::env::var_os(KEEP_VARIABLE) {
            Some(path) => {
                line.has_begun = false;
                let listener = UnixListener::from(stdin);
                listener.set_nonblocking(true)?;
                // Whoever comes is to see this process at the other end, and not the one that made the socket.
                rustix::net::listen(&listener, rendezvous::BACKLOG)?;
                line.listener = Some((listener, PathBuf::from(path)));
                line.wait(epoll)?;
            }
            None => line.greet(UnixStream::from(stdin), epoll)?,
        }
        Ok(line)
    }

    /// It outlives its agent.
    pub fn keeps(&self) -> bool {
        self.listener.is_some()
    }

    /// An agent is there.
    pub fn is_up(&self) -> bool {
        self.stream.is_some()
    }

    /// Everything that was said has been taken.
    pub fn is_idle(&self) -> bool {
        self.stream.is_some() && self.to.is_empty()
    }

    fn wait(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        match &self.listener {
            Some((listener, _)) => Ok(epoll::add(epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?),
            None => Ok(()),
        }
    }

    fn greet(&mut self, stream: UnixStream, epoll: &OwnedFd) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        epoll::add(epoll, &stream, EventData::new_u64(AGENT), EventFlags::IN)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Somebody comes. True when it is an agent of this user or of root: nobody else is let in until it is gone.
    pub fn accept(&mut self, epoll: &OwnedFd) -> io::Result<bool> {
        let Some((listener, _)) = &self.listener else { return Ok(false) };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                return Ok(false);
            }
            Err(_) => {
                // No descriptor is left, say: whoever waits is still there at the next look.
                std::thread::sleep(ACCEPT_PAUSE);
                return Ok(false);
            }
        };
        let peer = socket_peercred(&stream)?;
        if !peer.uid.is_root() && peer.uid != getuid() {
            return Ok(false);
        }
        epoll::delete(epoll, listener)?;
        self.has_begun = false;
        self.greet(stream, epoll)?;
        Ok(true)
    }

    /// The agent is gone: what was meant for it means nothing to the next.
    pub fn hang_up(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        self.stream = None;
        self.has_begun = false;
        self.from.clear();
        self.lines.clear();
        self.to.clear();
        self.wait(epoll)
    }

    /// The next line that the agent said. To be called until there is nothing.
    pub fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if let Some(line) = self.lines.pop_front() {
            return Ok(Heard::Line(line));
        }
        let Some(stream) = &self.stream else { return Ok(Heard::Nothing) };
        match (&*stream).read(buffer) {
            Ok(0) => return Ok(Heard::Gone),
            Ok(n) => self.from.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(Heard::Nothing),
            // A reset is an end as well.
            Err(_) => return Ok(Heard::Gone),
        }
        let Some(end) = self.from.iter().rposition(|byte| *byte == b'\n') else {
            return if self.from.len() > LINE_BYTES_MAX {
                Err(io::Error::other("the agent's line is too long"))
            } else {
                Ok(Heard::Nothing)
            };
        };
        let rest = self.from.split_off(end + 1);
        let lines = std::mem::replace(&mut self.from, rest);
        self.lines.extend(lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        Ok(self.lines.pop_front().map_or(Heard::Nothing, Heard::Line))
    }

    /// Lines were read and not heard yet.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Puts something in line to be said. Nothing without an agent that has begun: the next one asks for everything.
    pub fn queue<T: Serialize>(&mut self, message: &T) {
        // Bounded by what the agent asked for: at most three messages for each attempt, and one at a time for each log.
        if self.has_begun
            && let Ok(line) = encode(message)
        {
            self.to.extend_from_slice(&line);
        }
    }

    /// The first words to whoever came.
    pub fn greet_with(&mut self, hello: &Hello) {
        if let Ok(line) = encode(hello) {
            self.to.extend_from_slice(&line);
        }
    }

    /// Writes what the agent takes now; the rest follows when it reads.
    pub fn tell(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let had_rest = !self.to.is_empty();
        while !self.to.is_empty() {
            match (&*stream).write(&self.to) {
                Ok(n) => {
                    self.to.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // The agent is gone: its end of the socket is seen by the next read.
                Err(_) => self.to.clear(),
            }
        }
        if had_rest {
            let flags = if self.to.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            epoll::modify(epoll, stream, EventData::new_u64(AGENT), flags)?;
        }
        Ok(())
    }

    /// The descriptor of the agent's connection, for the next program of this process.
    pub fn fd(&self) -> Option<RawFd> {
        self.stream.as_ref().map(|stream| stream.as_fd().as_raw_fd())
    }

    /// Goes on with the connection that the program before this one had.
    pub fn resume(&mut self, stream: OwnedFd, epoll: &OwnedFd) -> io::Result<()> {
        if let Some((listener, _)) = &self.listener {
            epoll::delete(epoll, listener)?;
        }
        self.has_begun = false;
        self.greet(UnixStream::from(stream), epoll)
    }

    /// Nobody comes in here any more.
    pub fn close(&self) {
        if let Some((_, path)) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}
