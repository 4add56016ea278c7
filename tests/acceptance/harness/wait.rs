//! Waiting for a condition, with a deadline: the only place where a test sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take that holds within a second on an idle machine. The machines of tests are noisy, and how fast
/// things are is measured elsewhere.
pub const PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again until there is a value; after `limit` it fails with the last reason why there was none.
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(reason) => assert!(start.elapsed() < limit, "after {limit:?} still no {what}: {reason}"),
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `condition` is true.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || if condition() { Ok(()) } else { Err("the condition is false".to_owned()) });
}

/// Looks again and again for as long as `time`, and fails when `condition` does not hold: for what must *not* happen.
#[track_caller]
pub fn throughout(time: Duration, what: &str, mut condition: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Err(reason) = condition() {
            panic!("{what} did not hold {:?} into {time:?}: {reason}", start.elapsed());
        }
        thread::sleep(PAUSE);
    }
}

/// Returns at that time: for what happens at a steady pace.
pub fn until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}
