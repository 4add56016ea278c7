//! Requests without a pause, from several clients at once, each counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::http::{Answer, Call, Kept};
use super::wait::{PATIENCE, wait_until};

/// How long the worker takes for each: it paces the clients, and keeps requests under way at every moment.
const DELAY_MS: u64 = 25;

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// `clients` clients that GET: half of them keep their connections, half open one for each request.
    pub fn start(address: SocketAddr, clients: usize) -> Self {
        Self::of(address, clients, |_| Call::get(&target()))
    }

    /// The same, and half of each POST, which is never sent twice.
    pub fn mixed(address: SocketAddr, clients: usize) -> Self {
        Self::of(address, clients, |nth| if nth % 4 < 2 { Call::get(&target()) } else { Call::post(&target(), "posted") })
    }

    fn of(address: SocketAddr, clients: usize, call: impl Fn(usize) -> Call) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let client = |nth: usize| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let call = call(nth).within(Duration::from_secs(20));
            thread::spawn(move || client(address, nth.is_multiple_of(2), &call, &stop, &done))
        };
        let clients = (0..clients).map(client).collect();
        Load { stop, done, clients }
    }

    /// How many were answered well.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more were answered well.
    #[track_caller]
    pub fn wait_more(&self, count: u64) {
        let goal = self.done() + count;
        wait_until(PATIENCE, "progress of the requests", || self.done() >= goal);
    }

    /// Ends it; gives what went wrong.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }

    /// Ends it; nothing may have gone wrong.
    #[track_caller]
    pub fn stop_without_failure(self) {
        let done = self.done();
        let failures = self.stop();
        assert!(
            failures.is_empty(),
            "{} requests failed beside {done} that did not; the first: {:#?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
    }
}

fn target() -> String {
    format!("/?delay_ms={DELAY_MS}")
}

fn client(address: SocketAddr, keeps: bool, call: &Call, stop: &AtomicBool, done: &AtomicU64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept: Option<Kept> = None;
    while !stop.load(Ordering::Relaxed) && failures.len() < 100 {
        let result = if keeps { send_kept(address, &mut kept, call) } else { call.try_send(address) };
        match result {
            Ok(answer) if answer.status() == 200 && answer.text().starts_with("Hello from Worker ID: ") => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failures.push(format!("status {}: {}", answer.status(), answer.text())),
            Err(error) => failures.push(error.to_string()),
        }
    }
    failures
}

fn send_kept(address: SocketAddr, kept: &mut Option<Kept>, call: &Call) -> io::Result<Answer> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Kept::open(address)?,
    };
    let answer = connection.send(call)?;
    // A connection that the gateway is about to close is not used again, as no client would.
    if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *kept = Some(connection);
    }
    Ok(answer)
}
