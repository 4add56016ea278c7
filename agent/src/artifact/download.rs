//! Getting an artifact into a file of the cache, whatever happens on the way.
//!
//! Bytes go from the network to a thread that writes them and takes their digest; between the two few chunks wait. What is there already is
//! gone on with, after a break and after a crash. Whether it was the right thing to go on with, the digest decides in the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::backoff::Backoff;
use super::cache::Claim;
use super::cancel::{Cancel, Cancelled};
use super::digest::{Digest, Hasher};
use super::error::Error;
use super::meters::Meters;
use super::remote::{self, Failure, Fetched};
use super::source::Source;
use super::stage::{Stage, amount};

/// For the head of an answer.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// For more of it.
const IDLE_DEADLINE: Duration = Duration::from_secs(30);
/// The most chunks that wait to be written; each is what one read of a socket brought.
const CHUNKS_MAX: usize = 4;

/// What to get.
#[derive(Debug)]
pub struct Order<'a> {
    /// For the web.
    pub client: Option<Client>,
    /// From where.
    pub source: &'a Source,
    /// What it must be.
    pub digest: Digest,
    /// The most bytes.
    pub bytes_max: u64,
    /// Where it goes.
    pub claim: &'a Arc<Claim>,
    /// Who is told of it.
    pub stage: &'a watch::Sender<Stage>,
    /// Who counts it.
    pub meters: &'a Meters,
}

/// A file with what was got so far.
#[derive(Debug)]
struct Partial {
    file: File,
    hasher: Hasher,
    /// Keeps others from it while a thread writes.
    _claim: Arc<Claim>,
}

impl Partial {
    /// What is there.
    fn open(claim: Arc<Claim>, bytes_max: u64, cancelled: &Cancelled) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(claim.partial())?;
        if file.metadata()?.len() > bytes_max {
            file.set_len(0)?;
        }
        let mut hasher = Hasher::new();
        hasher.take_all(&mut file, cancelled)?;
        Ok(Partial { file, hasher, _claim: claim })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.hasher = Hasher::new();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hasher.take(chunk);
        Ok(())
    }

    fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}

/// Gets it, and makes sure that it is what it must be.
pub async fn download(order: Order<'_>) -> Result<(), Error> {
    order.stage.send_replace(Stage::Checking);
    let mut partial = begin(&order).await?;
    // The rest of an earlier download may be of something else; what comes from one answer is what the server has.
    let mut may_be_mixed = partial.hasher.bytes > 0;
    let mut tag = None;
    let mut backoff = Backoff::default();
    while partial.digest() != order.digest {
        let before = partial.hasher.bytes;
        let (back, outcome) = try_once(&order, partial, &mut tag).await?;
        partial = back;
        let failure = match outcome {
            Ok(()) if partial.digest() == order.digest => break,
            Ok(()) if may_be_mixed => Failure::Restart("what was there of it belongs to something else".to_owned()),
            Ok(()) => {
                let found = partial.digest();
                order.claim.drop_partial()?;
                return Err(Error::WrongDigest { found, expected: order.digest });
            }
            Err(failure) => failure,
        };
        match &failure {
            Failure::Lasting(_) => return Err(Error::Download(failure)),
            Failure::Restart(_) => {
                partial.restart()?;
                tag = None;
                may_be_mixed = false;
            }
            // Another answer is gone on with: the server may have changed its mind between them.
            Failure::Passing(_) => may_be_mixed |= partial.hasher.bytes > 0,
        }
        let bytes = partial.hasher.bytes;
        tracing::debug!(bytes, before, "a download broke: {failure}");
        let Some(wait_ms) = backoff.failed(bytes, chance()) else { return Err(Error::Download(failure)) };
        order.stage.send_replace(Stage::Broken { bytes, why: failure.to_string() });
        sleep(Duration::from_millis(wait_ms)).await;
    }
    Ok(())
}

/// Some number.
pub fn chance() -> u64 {
    Uuid::new_v4().as_u64_pair().1 >> 2
}

async fn begin(order: &Order<'_>) -> Result<Partial, Error> {
    let cancel = Cancel::default();
    let (claim, bytes_max, cancelled) = (Arc::clone(order.claim), order.bytes_max, cancel.watch());
    let opened = spawn_blocking(move || Partial::open(claim, bytes_max, &cancelled)).await;
    Ok(opened.map_err(io::Error::other)??)
}

/// One request, and what comes of it.
async fn try_once(order: &Order<'_>, mut partial: Partial, tag: &mut Option<String>) -> Result<(Partial, Result<(), Failure>), Error> {
    let from = partial.hasher.bytes;
    let asked = timeout(HEAD_DEADLINE, remote::get(order.client.as_ref(), order.source, from, tag.as_deref())).await;
    let fetched = match asked.unwrap_or_else(|_| Err(Failure::Passing("there was no answer in time".to_owned()))) {
        Ok(fetched) => fetched,
        Err(failure) => return Ok((partial, Err(failure))),
    };
    if fetched.from != from {
        partial.restart()?;
    }
    tag.clone_from(&fetched.tag);
    if let Some(total) = fetched.total.filter(|total| *total > order.bytes_max) {
        return Err(too_large(order, Some(total)));
    }
    let (chunks, mut queue) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let writer = spawn_blocking(move || {
        while let Some(chunk) = queue.blocking_recv() {
            if let Err(e) = partial.write(&chunk) {
                return (partial, Err(e));
            }
        }
        (partial, Ok(()))
    });
    let outcome = pass_on(order, fetched, &chunks).await;
    drop(chunks);
    let (partial, written) = writer.await.map_err(io::Error::other)?;
    if let Err(e) = written {
        // A full disk needs the room.
        order.claim.drop_partial()?;
        return Err(Error::Io(e));
    }
    Ok((partial, outcome?))
}

/// Hands what comes to the thread that writes.
async fn pass_on(order: &Order<'_>, fetched: Fetched, to: &mpsc::Sender<Bytes>) -> Result<Result<(), Failure>, Error> {
    let Fetched { from, total, mut chunks, .. } = fetched;
    let mut bytes = from;
    loop {
        order.stage.send_replace(Stage::Downloading { bytes, total });
        let chunk = match timeout(IDLE_DEADLINE, chunks.next()).await {
            Err(_) => return Ok(Err(Failure::Passing(format!("nothing came for {} s", IDLE_DEADLINE.as_secs())))),
            Ok(Some(Err(failure))) => return Ok(Err(failure)),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) if total.is_some_and(|total| bytes < total) => {
                return Ok(Err(Failure::Passing(format!("it ended after {}", amount(bytes)))));
            }
            Ok(None) => return Ok(Ok(())),
        };
        bytes += chunk.len() as u64;
        order.meters.received(chunk.len() as u64);
        if bytes > order.bytes_max {
            return Err(too_large(order, None));
        }
        if to.send(chunk).await.is_err() {
            // The thread has ended, and says why.
            return Ok(Ok(()));
        }
    }
}

fn too_large(order: &Order<'_>, bytes: Option<u64>) -> Error {
    // It would only be in the way.
    let _ = order.claim.drop_partial();
    Error::TooLarge { bytes, bytes_max: order.bytes_max }
}
