//! Carrying out health checks. When one is due, and what its outcome means, is decided by `cluster::health`.
//!
//! A check goes to the port of its own replica on the loopback address and nowhere else. So many are under way at a time; the others
//! wait for their turn, and their time counts from then.

mod http;
mod meters;
mod voice;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use cluster::health::{Check, Kind};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::probe::connect;

pub use meters::Meters;
pub use voice::{Voice, Word, read as read_push};

/// The most checks that hold a connection at a time.
const CONNECTIONS_MAX: usize = 64;
/// The most characters of a failure.
const WORDS_MAX: usize = 300;

/// One check that is due.
#[derive(Debug)]
pub struct Errand {
    /// Of which replica.
    pub id: ReplicaId,
    /// Of which attempt of it.
    pub attempt: u32,
    /// Its place in the spec.
    pub nth: usize,
}

/// How it went.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub errand: Errand,
    /// A failure is told in words that follow "it".
    pub result: Result<(), String>,
    /// The word of the check's kind.
    pub kind: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// All checks over the network that are under way.
#[derive(Debug)]
pub struct Checks {
    under_way: JoinSet<Done>,
    permits: Arc<Semaphore>,
}

impl Checks {
    /// None yet.
    pub fn new() -> Self {
        Checks { under_way: JoinSet::new(), permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Carries one out.
    pub fn start(&mut self, errand: Errand, check: &Check, port: u16) -> AbortHandle {
        let (permits, check) = (Arc::clone(&self.permits), check.clone());
        self.under_way.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let began = Instant::now();
            let limit = Duration::from_millis(check.timeout_ms);
            let result = match timeout(limit, ask(&check.kind, port)).await {
                Ok(result) => result.map_err(brief),
                Err(_) => Err(too_late(check.timeout_ms)),
            };
            Done { errand, result, kind: check.kind.word(), took: began.elapsed() }
        })
    }

    /// The next that is done. One that was ended with its attempt says nothing.
    pub async fn next(&mut self) -> Option<Done> {
        while let Some(done) = self.under_way.join_next().await {
            if let Ok(done) = done {
                return Some(done);
            }
        }
        None
    }
}

/// The words for no answer in time.
pub fn too_late(timeout_ms: u64) -> String {
    format!("did not answer within {timeout_ms} ms")
}

async fn ask(kind: &Kind, port: u16) -> Result<(), String> {
    match kind {
        Kind::Http { path, status, host } => http::get(port, path, host.as_deref(), *status).await,
        Kind::Tcp => connect(port).await.map(drop).map_err(|e| refusal(&e)),
        // The guardian runs commands, and a replica speaks up by itself.
        Kind::Exec { .. } | Kind::Push => Ok(()),
    }
}

fn refusal(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => "refused the connection".to_owned(),
        _ => format!("cannot be connected to: {e}"),
    }
}

/// Words that will be shown on terminals: not too many, and no control characters.
pub fn brief(words: String) -> String {
    words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}
