//! Where apps come from: files in a bucket, in a directory or behind a web server, each one app.
//!
//! One task reads what is new and hands all files, with what is wanted now, to a pure function (`cluster::source`); what follows it
//! writes to the store as anybody else would. What it cannot read or take changes nothing. Absent from here: what a file means (`spec`),
//! and what becomes of it (`cluster`).

mod bucket;
mod builtin;
mod directory;
mod explain;
mod index;
mod location;
mod reader;
mod report;
mod shelf;
mod task;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

pub use self::builtin::fill;
pub use self::location::Location;
pub use self::report::SourceReport;
pub use self::task::AppSource;

/// An app source, as a controller is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppsFrom {
    /// Where it is.
    pub location: Location,
    /// How often it is looked at.
    pub poll: Duration,
    /// An app whose file vanished is deleted.
    pub prune: bool,
}

/// Why an app source cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings of the client.
    #[error("the app source {url} cannot be used: {why}")]
    Client {
        /// Which.
        url: String,
        /// A sentence.
        why: String,
    },
    /// Whoever is on the way could decide what runs here.
    #[error("{0} is read in the clear, so that everybody on the way could decide what runs here; use https, or allow it with --insecure")]
    Clear(String),
}
