//! A steady stream of requests through the gateway, one after the other, that counts what fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(3);

/// What came of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many got an answer from a worker.
    pub answered: u64,
    /// The first failure, and how many there were.
    pub failed: u64,
    /// What the first failure was.
    pub first_failure: Option<String>,
}

/// Requests that are under way.
pub struct Load {
    answered: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    outcome: JoinHandle<Outcome>,
}

impl Load {
    /// Begins.
    pub fn start(client: Client) -> Load {
        let (stop, mut stopped) = oneshot::channel();
        let answered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answered);
        let outcome = tokio::spawn(async move {
            let mut outcome = Outcome::default();
            while matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                match request(&client).await {
                    Ok(()) => {
                        outcome.answered += 1;
                        counted.store(outcome.answered, Ordering::Relaxed);
                    }
                    Err(failure) => {
                        outcome.failed += 1;
                        outcome.first_failure.get_or_insert(failure);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            outcome
        });
        Load { answered, stop, outcome }
    }

    /// Waits until so many more are answered, or `so_long` has passed: whether that is enough shows at the end.
    pub async fn more(&self, count: u64, so_long: Duration) {
        let (since, from) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < from + count && since.elapsed() < so_long {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends after the request that is under way.
    pub async fn stop(self) -> anyhow::Result<Outcome> {
        // It cannot have ended before.
        let _ = self.stop.send(());
        Ok(self.outcome.await?)
    }
}

async fn request(client: &Client) -> Result<(), String> {
    let answer = client.get("/").await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status == StatusCode::OK && worker_id(&text).is_some() {
        return Ok(());
    }
    Err(format!("{} {}", answer.status, text.trim_end()))
}

/// The id in a worker's answer: `Hello from Worker ID: <uuid>. Uptime: 12s`.
pub fn worker_id(answer: &str) -> Option<&str> {
    let (id, uptime) = answer.strip_prefix("Hello from Worker ID: ")?.split_once(". Uptime: ")?;
    let seconds = uptime.trim_end().strip_suffix('s')?;
    (!seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_says_its_id_and_its_uptime() {
        assert_eq!(worker_id("Hello from Worker ID: 0199-ab. Uptime: 12s\n"), Some("0199-ab"));
        for other in ["", "Hello", "Hello from Worker ID: x", "Hello from Worker ID: x. Uptime: s", "Hello from Worker ID: x. Uptime: 1 s"]
        {
            assert_eq!(worker_id(other), None, "{other}");
        }
    }
}
