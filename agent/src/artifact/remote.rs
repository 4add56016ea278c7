//! Asking for an artifact that is not on this host.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use reqwest::Client;

use super::source::Source;
use super::{http, s3};

/// The most characters of somebody else's words.
const WORDS_MAX: usize = 200;

/// The answer to a request.
pub struct Fetched {
    /// The byte that it begins with: that which was asked for, or the first.
    pub from: u64,
    /// Bytes of the whole, where that is told.
    pub total: Option<u64>,
    /// What the server knows this very content by.
    pub tag: Option<String>,
    /// The bytes.
    pub chunks: BoxStream<'static, Result<Bytes, Failure>>,
}

/// Why a request came to nothing. Words for people, with no secrets in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may go well the next time.
    #[error("{0}")]
    Passing(String),
    /// It may go well from the first byte on.
    #[error("{0}")]
    Restart(String),
    /// It will not go well.
    #[error("{0}")]
    Lasting(String),
}

/// Asks for what a source has, from a byte on if that is not the first and it has not changed since it had this tag.
pub async fn get(client: Option<&Client>, source: &Source, from: u64, tag: Option<&str>) -> Result<Fetched, Failure> {
    match (source, client) {
        (Source::Http(url), Some(client)) => http::get(client, url, from, tag).await,
        (Source::S3 { bucket, key }, _) => s3::get(bucket, key, from, tag).await,
        (Source::Http(_) | Source::File(_), _) => Err(Failure::Lasting("it is not fetched over a network".to_owned())),
    }
}

/// Somebody else's words, as they may be shown.
pub fn brief(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect()
}
