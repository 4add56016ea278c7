//! Why an artifact is not ready.

use std::io;

use super::digest::{BadDigest, Digest};
use super::remote::Failure;
use super::{source, unpack};
use crate::artifact::stage::amount;

/// Why an artifact is not ready. Words that follow "cannot be made ready".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its URL.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// Its digest.
    #[error(transparent)]
    BadDigest(#[from] BadDigest),
    /// It has none.
    #[error("it has no sha256; only a file: may go without, so give what sha256sum prints of it")]
    NoDigest,
    /// The cache.
    #[error("the cache of artifacts cannot be used: {0}; choose another directory with --cache-dir")]
    Cache(#[source] io::Error),
    /// A file of this host.
    #[error("the file cannot be read: {0}")]
    File(#[source] io::Error),
    /// The network, or the server.
    #[error("{0}")]
    Download(Failure),
    /// It took too long as a whole.
    #[error("it was not here after {0} hours")]
    TooSlow(u64),
    /// Another agent has it in hand and does not get on.
    #[error("another agent of this host has it in hand and has not got on for {0} minutes")]
    Stuck(u64),
    /// It is something else.
    #[error("its sha256 is {found}, and should be {expected}")]
    WrongDigest {
        /// What it is.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// It is too large.
    #[error("it is larger than the {} that an artifact may have{}", amount(*bytes_max), bytes.map(|n| format!(": {}", amount(n))).unwrap_or_default())]
    TooLarge {
        /// How large, where that is known.
        bytes: Option<u64>,
        /// What it may be.
        bytes_max: u64,
    },
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// It could not be unpacked before, and has not changed since: its digest is the same.
    #[error("{0}")]
    Refused(String),
    /// The disk.
    #[error("the cache of artifacts: {0}")]
    Io(#[from] io::Error),
}
