//! Telling a thread that works for nobody any more to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the work of a thread when it is dropped.
#[derive(Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// What such a thread looks at.
#[derive(Clone, Debug)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancel {
    /// For a thread.
    pub fn watch(&self) -> Cancelled {
        Cancelled(Arc::clone(&self.0))
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Cancelled {
    /// Work that is never cancelled.
    #[cfg(test)]
    pub fn never() -> Self {
        Cancelled(Arc::default())
    }

    /// An error when it is.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("nobody waits for it any more")) } else { Ok(()) }
    }
}
