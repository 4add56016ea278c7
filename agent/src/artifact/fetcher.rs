//! Making one artifact ready: found in the cache, or got, verified, unpacked and put there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::artifact::Artifact;
use reqwest::Client;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::bounds::Bounds;
use super::cache::{Cache, Claim, Lease, Standing};
use super::cancel::{Cancel, Cancelled};
use super::digest::{Digest, Hasher};
use super::download::{self, Order, chance};
use super::error::Error;
use super::format::Format;
use super::meters::Meters;
use super::source::Source;
use super::stage::Stage;
use super::{http, unpack};

/// The most artifacts that one agent downloads and unpacks at a time.
const AT_A_TIME_MAX: usize = 4;
/// How often an agent looks whether another one is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Another agent that has not got on for so long is not waited for.
const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);
/// For a whole download.
const DOWNLOAD_HOURS_MAX: u64 = 6;
/// So many that cannot be unpacked are remembered.
const REFUSED_MAX: usize = 256;
/// So often an artifact is made that somebody removes before it can be used.
const TRIES: u32 = 3;

/// Where the cache is, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory; that of this user unless said.
    pub directory: Option<PathBuf>,
    /// The most bytes. What is used stays beyond them.
    pub bytes_max: u64,
}

/// Makes artifacts ready.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    bounds: Bounds,
    client: Mutex<Option<Client>>,
    permits: Semaphore,
    /// Why artifacts of these keys cannot be unpacked. They never can, so they are not downloaded for it again.
    refused: Mutex<BTreeMap<String, String>>,
    /// What it counts.
    pub meters: Meters,
}

/// What an artifact is known by, and how it is packed.
#[derive(Clone, Debug)]
struct Identity {
    digest: Digest,
    format: Format,
    name: String,
    key: String,
}

impl Identity {
    /// Of the same bytes an archive and a plain file make two trees, and a plain file makes one for each name.
    fn new(digest: Digest, name: String) -> Self {
        let format = Format::of_name(&name);
        let key = match format {
            Format::File => format!("{digest}.file.{name}"),
            _ => format!("{digest}.{}", format.word()),
        };
        Identity { digest, format, name, key }
    }
}

impl Fetcher {
    /// One that has fetched nothing.
    pub fn new(settings: Settings) -> Self {
        Fetcher {
            settings,
            bounds: Bounds::default(),
            client: Mutex::default(),
            permits: Semaphore::new(AT_A_TIME_MAX),
            refused: Mutex::default(),
            meters: Meters::default(),
        }
    }

    /// One that takes no more than this.
    #[cfg(test)]
    pub fn bounded(settings: Settings, bounds: Bounds) -> Self {
        Fetcher { bounds, ..Fetcher::new(settings) }
    }

    fn cache(&self) -> Result<Cache, Error> {
        Cache::open(self.settings.directory.as_deref(), self.settings.bytes_max).map_err(Error::Cache)
    }

    /// Brings the cache within its size.
    pub fn tidy(&self) -> Result<(), Error> {
        let bytes = self.cache()?.tidy().map_err(Error::Cache)?;
        self.meters.cached(bytes);
        Ok(())
    }

    /// Makes an artifact ready and tells how that goes. When it is dropped before its end, so is the work.
    pub async fn fetch(&self, artifact: &Artifact, stage: &watch::Sender<Stage>) -> Result<Lease, Error> {
        let fetched = self.find_or_make(artifact, stage).await;
        if fetched.is_err() {
            self.meters.failed();
        }
        fetched
    }

    async fn find_or_make(&self, artifact: &Artifact, stage: &watch::Sender<Stage>) -> Result<Lease, Error> {
        let (source, name) = Source::parse(artifact.url.as_str())?;
        let given = artifact.sha256.as_ref().map(|digits| digits.as_str().parse::<Digest>()).transpose()?;
        let digest = match (&source, given) {
            (Source::File(path), given) => {
                stage.send_replace(Stage::Checking);
                let found = self.digest_of(path.clone()).await?;
                match given {
                    Some(expected) if expected != found => return Err(Error::WrongDigest { found, expected }),
                    _ => found,
                }
            }
            (_, Some(given)) => given,
            (_, None) => return Err(Error::NoDigest),
        };
        let identity = Identity::new(digest, name);
        if let Some(why) = self.refused().get(&identity.key) {
            return Err(Error::Refused(why.clone()));
        }
        let cache = self.cache()?;
        let mut seen = (0, Instant::now());
        let mut tries = 0;
        loop {
            match cache.look(&identity.key).map_err(Error::Cache)? {
                Standing::Ready(lease) => return Ok(lease),
                Standing::Ours(claim) if tries < TRIES => {
                    tries += 1;
                    self.make(&source, &identity, claim, stage).await.inspect_err(|e| self.remember(&identity, e))?;
                    self.meters.made();
                }
                Standing::Ours(_) => return Err(Error::Cache(io::Error::other("what is put into it is removed at once"))),
                Standing::Elsewhere => {
                    let bytes = cache.partial_bytes(&identity.key);
                    if bytes != seen.0 {
                        seen = (bytes, Instant::now());
                    }
                    if seen.1.elapsed() > STUCK_AFTER {
                        return Err(Error::Stuck(STUCK_AFTER.as_secs() / 60));
                    }
                    stage.send_replace(Stage::Elsewhere { bytes });
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what can never be unpacked. What the disk did may go well the next time.
    fn remember(&self, identity: &Identity, why: &Error) {
        if let Error::Unpack(unpack::Error::Entry { .. } | unpack::Error::Archive { .. }) = why {
            let mut refused = self.refused();
            if refused.len() >= REFUSED_MAX {
                refused.pop_first();
            }
            refused.insert(identity.key.clone(), why.to_string());
        }
    }

    /// The digest of a file of this host.
    async fn digest_of(&self, path: PathBuf) -> Result<Digest, Error> {
        let cancel = Cancel::default();
        let (cancelled, bytes_max) = (cancel.watch(), self.bounds.download_bytes);
        let read = spawn_blocking(move || -> Result<Digest, Error> {
            let mut file = open_regular(&path, bytes_max)?;
            let mut hasher = Hasher::new();
            hasher.take_all(&mut file, &cancelled).map_err(Error::File)?;
            Ok(hasher.finish())
        });
        read.await.map_err(io::Error::other)?
    }

    /// Gets it, unpacks it and puts it into the cache.
    async fn make(&self, source: &Source, identity: &Identity, claim: Claim, stage: &watch::Sender<Stage>) -> Result<(), Error> {
        let claim = Arc::new(claim);
        stage.send_replace(Stage::Waiting);
        let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
        let digest = identity.digest;
        if let Source::File(path) = source {
            self.copy(path.clone(), &claim, digest).await?;
        } else {
            sleep(Duration::from_millis(Backoff::first_ms(chance()))).await;
            let client = self.client(source)?;
            let bytes_max = self.bounds.download_bytes;
            let order = Order { client, source, digest, bytes_max, claim: &claim, stage, meters: &self.meters };
            let limit = Duration::from_secs(DOWNLOAD_HOURS_MAX * 3_600);
            timeout(limit, download::download(order)).await.map_err(|_| Error::TooSlow(DOWNLOAD_HOURS_MAX))??;
        }
        stage.send_replace(Stage::Unpacking);
        let cancel = Cancel::default();
        let (identity, bounds, cancelled) = (identity.clone(), self.bounds, cancel.watch());
        let unpacked = spawn_blocking(move || put(&claim, &identity, bounds, &cancelled));
        unpacked.await.map_err(io::Error::other)?
    }

    /// Copies a file of this host, which nobody may have changed since it was read.
    async fn copy(&self, path: PathBuf, claim: &Arc<Claim>, expected: Digest) -> Result<(), Error> {
        let cancel = Cancel::default();
        let (cancelled, bytes_max, claim) = (cancel.watch(), self.bounds.download_bytes, Arc::clone(claim));
        let copied = spawn_blocking(move || -> Result<(), Error> {
            let mut from = open_regular(&path, bytes_max)?;
            let mut to = File::create(claim.partial())?;
            let copied = copy_all(&mut from, &mut to, &cancelled)
                .and_then(|found| if found == expected { Ok(()) } else { Err(Error::WrongDigest { found, expected }) });
            if copied.is_err() {
                claim.drop_partial()?;
            }
            copied
        });
        copied.await.map_err(io::Error::other)?
    }

    fn client(&self, source: &Source) -> Result<Option<Client>, Error> {
        if !matches!(source, Source::Http(_)) {
            return Ok(None);
        }
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_none() {
            *client = Some(http::client().map_err(Error::Download)?);
        }
        Ok(client.clone())
    }
}

fn open_regular(path: &Path, bytes_max: u64) -> Result<File, Error> {
    // Before it is opened: opening a fifo waits for somebody.
    let meta = fs::metadata(path).map_err(Error::File)?;
    if !meta.is_file() {
        return Err(Error::File(io::Error::other("it is no regular file")));
    }
    if meta.len() > bytes_max {
        return Err(Error::TooLarge { bytes: Some(meta.len()), bytes_max });
    }
    File::open(path).map_err(Error::File)
}

fn copy_all(from: &mut File, to: &mut File, cancelled: &Cancelled) -> Result<Digest, Error> {
    use std::io::{Read, Write};
    let mut buffer = vec![0; 64 * 1024];
    let mut hasher = Hasher::new();
    loop {
        cancelled.check()?;
        let n = from.read(&mut buffer).map_err(Error::File)?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.take(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
}

/// Unpacks what was got and verified. Of what cannot be unpacked nothing stays.
fn put(claim: &Claim, identity: &Identity, bounds: Bounds, cancelled: &Cancelled) -> Result<(), Error> {
    let unpacked = (|| {
        let mut file = File::open(claim.partial())?;
        let tree = claim.new_tree()?;
        let bytes = unpack::unpack(&mut file, identity.format, &identity.name, &tree, bounds, cancelled)?;
        Ok(claim.publish(bytes)?)
    })();
    if unpacked.is_err() {
        claim.drop_new_tree()?;
        // One that nobody waits for may be wanted again.
        if cancelled.check().is_ok() {
            claim.drop_partial()?;
        }
    }
    unpacked
}
