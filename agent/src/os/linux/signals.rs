//! What the agent is told by signals.

use std::io;

use rustix::process::getpid;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::os::Signal;

/// The signals that an agent listens to, from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hang_up: Option<Stream>,
    child: Stream,
}

impl Signals {
    /// Begins to listen. SIGHUP stays ignored where whoever started this program had it ignored (nohup).
    pub fn listen() -> io::Result<Self> {
        let hang_up = if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
            child: signal(SignalKind::child())?,
        })
    }

    /// The next one. May be dropped and called again.
    pub async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(stream) => stream.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Signal::Goodbye,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hang_up => Signal::Goodbye,
            _ = self.child.recv() => Signal::Child,
        }
    }
}

/// Whether this process ignores a signal, as `/proc` tells it.
fn is_ignored(signal: i32) -> bool {
    let mask = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", getpid().as_raw_nonzero())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    mask().is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
