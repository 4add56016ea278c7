//! Listening sockets that another program opened and keeps: they outlive this process, and so do the connections that wait in their queues.
//!
//! Absent from here: how they come to us, and which of them is for what.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// A listening socket that was handed over to this process.
#[derive(Debug)]
pub struct Inherited {
    listener: TcpListener,
    addr: SocketAddr,
    name: Option<String>,
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not listen.
    #[error("the socket {addr} that was handed over does not listen; hand over one that does (ListenStream= of systemd)")]
    Deaf {
        /// Its address.
        addr: SocketAddr,
    },
    /// The system does not let it be used.
    #[error("cannot use a socket that was handed over: {0}")]
    Io(#[from] io::Error),
}

impl Inherited {
    /// Takes a socket over; `name` is what it was handed over as.
    ///
    /// # Errors
    /// An [`Error`] of one line.
    pub fn new(listener: TcpListener, name: Option<String>) -> Result<Self, Error> {
        let addr = listener.local_addr()?;
        // Elsewhere the system does not say, and accepting fails.
        #[cfg(target_os = "linux")]
        if !socket2::SockRef::from(&listener).is_listener()? {
            return Err(Error::Deaf { addr });
        }
        listener.set_nonblocking(true)?;
        Ok(Inherited { listener, addr, name })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The socket, in non-blocking mode.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }

    /// What it was handed over as.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Makes `siblings` listeners (at least one) of it, which accept from its one queue: a queue of our own would die with this process. Logs
    /// a line with the address.
    ///
    /// # Errors
    /// An [`Error`] of one line.
    pub fn share(self, siblings: usize) -> Result<Vec<TcpListener>, Error> {
        let mut group: Vec<TcpListener> = (1..siblings).map(|_| self.listener.try_clone()).collect::<Result<_, _>>()?;
        group.push(self.listener);
        tracing::info!("listening on {}, a socket that was handed over", self.addr);
        Ok(group)
    }
}
