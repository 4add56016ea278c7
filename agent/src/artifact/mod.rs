//! Artifacts: the programs and files that an app brings along, from a URL to a directory that its replicas run in.
//!
//! `fetcher` makes one ready, `fetches` are those under way. `source`, `remote`, `http`, `s3`: where it comes from. `download`, `backoff`,
//! `digest`: that it comes whole. `cache`, `eviction`: that it stays, once for all agents of a host. `unpack`, `entry_name`, `bounds` and the readers of
//! formats: that nothing is made outside of its directory. Absent from here: replicas, and any trust in what is fetched.

mod backoff;
mod bounds;
mod cache;
mod cancel;
mod digest;
mod download;
mod entry_name;
mod error;
mod eviction;
mod fetcher;
mod fetches;
mod format;
mod http;
mod meters;
mod remote;
mod s3;
mod source;
mod stage;
mod tar_archive;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod unpack;
mod zip_archive;
mod zip_directory;

pub use cache::Lease;
pub use fetcher::Settings;
pub use fetches::{Fetches, Finished, Wish};
pub use meters::Counts;
