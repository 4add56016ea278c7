//! What the tests stand on: a controller and scripted agents.

pub mod agent;
pub mod controller;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
