//! A bucket of an S3 server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, RetryConfig};
use spec::SPEC_BYTES_MAX;

use super::explain::explain;
use super::reader::{CALL, CONNECT, Call, FILES_MAX, Fetched, Listed, Reader, is_app};

/// A bucket.
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Without one the server of the cloud is asked for credentials, which is right on some hosts only.
    has_key: bool,
}

impl Bucket {
    /// A bucket of the S3 server that the environment names (`AWS_ENDPOINT_URL`, else that of `AWS_REGION`), by its credentials.
    ///
    /// # Errors
    /// What is wrong with the environment.
    pub fn s3(bucket: &str, prefix: &str) -> Result<Self, String> {
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        // The next look comes soon, and each try would be a line of the log.
        let retry = RetryConfig { max_retries: 0, retry_timeout: CALL, ..RetryConfig::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), seconds(CALL))
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), seconds(CONNECT))
            .with_retry(retry)
            .build()
            .map_err(|error| explain(&error))?;
        let has_key = std::env::var_os("AWS_ACCESS_KEY_ID").is_some();
        Ok(Bucket { store: Arc::new(store), prefix: Path::parse(prefix).unwrap_or_default(), has_key })
    }

    fn explain(&self, error: &object_store::Error) -> String {
        let hint = if self.has_key { "" } else { "; AWS_ACCESS_KEY_ID is not set" };
        format!("{}{hint}", explain(error))
    }

    /// A path below the prefix, as people call it.
    fn below(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> = location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }
}

fn tag_of(meta: &ObjectMeta) -> String {
    meta.e_tag.clone().unwrap_or_else(|| format!("{}-{}", meta.last_modified.timestamp_micros(), meta.size))
}

impl Reader for Bucket {
    fn list(&self) -> Call<'_, Vec<Listed>> {
        Box::pin(async move {
            let mut listing = self.store.list(Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty()));
            let mut files = Vec::new();
            while let Some(meta) = listing.next().await {
                let meta = meta.map_err(|error| self.explain(&error))?;
                let Some(file) = self.below(&meta.location).filter(|file| is_app(file)) else { continue };
                files.push(Listed { file, tag: Some(tag_of(&meta)) });
                if files.len() > FILES_MAX {
                    return Err(format!("it holds more than {FILES_MAX} apps; divide them over several clusters"));
                }
            }
            Ok(files)
        })
    }

    fn fetch(&self, file: String, _known: Option<String>) -> Call<'_, Fetched> {
        Box::pin(async move {
            let location = file.split('/').fold(self.prefix.clone(), |path, part| path.join(part));
            let result = match self.store.get_opts(&location, GetOptions::default()).await {
                Ok(result) => result,
                Err(object_store::Error::NotFound { .. }) => return Ok(Fetched::Gone),
                Err(error) => return Err(explain(&error)),
            };
            let meta = result.meta.clone();
            let mut bytes = Vec::new();
            let mut body = result.into_stream();
            while let Some(chunk) = body.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| explain(&error))?);
                if bytes.len() > SPEC_BYTES_MAX {
                    // Too long as it is: whoever reads specs says so.
                    bytes.truncate(SPEC_BYTES_MAX + 1);
                    return Ok(Fetched::New { tag: Some(tag_of(&meta)), bytes: bytes.into() });
                }
            }
            if bytes.len() as u64 != meta.size {
                return Err(format!("it broke off after {} of {} bytes", bytes.len(), meta.size));
            }
            Ok(Fetched::New { tag: Some(tag_of(&meta)), bytes: bytes.into() })
        })
    }
}
