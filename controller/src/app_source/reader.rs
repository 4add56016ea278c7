//! What a source offers to the task that reads it: the list of its files, and their bytes.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::bucket::Bucket;
use super::directory::Directory;
use super::index::Index;
use super::{AppsFrom, Error, Location};

/// The most files of a source.
pub const FILES_MAX: usize = 5_000;
/// How long a call to a server may take.
pub const CALL: Duration = Duration::from_secs(10);
/// How long a server may take to accept a connection.
pub const CONNECT: Duration = Duration::from_secs(3);

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path below the source.
    pub file: String,
    /// What changes with its content, where the listing tells.
    pub tag: Option<String>,
}

/// What a fetch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is as it was.
    Same,
    /// Its content.
    New {
        /// What changes with it, if there is such a thing.
        tag: Option<String>,
        /// The content; at most one byte more than a spec may have.
        bytes: Bytes,
    },
    /// It was written to while it was read.
    Unsettled,
    /// It is not there any more.
    Gone,
}

/// What a call to a source returns; its error is a sentence without secrets.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A source that can be read.
pub trait Reader: Send + Sync {
    /// All its files, whole, or an error.
    fn list(&self) -> Call<'_, Vec<Listed>>;

    /// A file's content. `known`: the tag of what is known of it.
    fn fetch(&self, file: String, known: Option<String>) -> Call<'_, Fetched>;
}

/// Whether a path of a source is an app's: it ends in `.toml`, and no part of it is hidden (editors and version control keep theirs so).
#[must_use]
pub fn is_app(path: &str) -> bool {
    path.len() > ".toml".len() && path.ends_with(".toml") && !path.split('/').any(|part| part.starts_with('.'))
}

/// The reader of a source.
///
/// # Errors
/// Its settings, or those of the environment, make no client.
pub fn open(from: &AppsFrom, insecure: bool) -> Result<Box<dyn Reader>, Error> {
    let failed = |why: String| Error::Client { url: from.location.to_string(), why };
    if from.location.is_clear() && !insecure {
        return Err(Error::Clear(from.location.to_string()));
    }
    // Another part of the program may have chosen one already; either does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match &from.location {
        Location::Bucket { bucket, prefix } => Ok(Box::new(Bucket::s3(bucket, prefix).map_err(failed)?)),
        Location::Directory(path) => Ok(Box::new(Directory::new(path.clone()))),
        Location::Index(url) => Ok(Box::new(Index::new(url.clone()).map_err(failed)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_app_ends_in_toml_and_is_not_hidden() {
        for app in ["shop.toml", "eu/shop.toml", "a b.toml"] {
            assert!(is_app(app), "{app}");
        }
        for other in [".toml", "x/.toml", ".#shop.toml", ".git/shop.toml", "shop.toml~", "shop.toml.swp", "shop.json", "README"] {
            assert!(!is_app(other), "{other}");
        }
    }
}
