//! What replicas write: the files that the guardian fills, where they lie, how long they stay, and how they are read.
//!
//! Absent from here: the writing itself, which is the guardian's and lies in `os`.

mod dir;
pub mod place;
mod read;
pub mod record;

pub use dir::{Error, LogDir};
pub use read::{Source, send};
