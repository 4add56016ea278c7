//! Requests of all methods at a steady pace, whatever becomes of them: each is counted, and each answer is checked to its last byte.
//!
//! The clients are correct ones: a kept connection that was ended between two requests is opened anew; a request that was written and
//! got no answer has failed, and is not sent again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::{Answer, Call, Kept};
use super::tally::{Failure, Outcome, Tally};
use super::wait::{self, PATIENCE, wait_until};

/// How many send at once.
pub const CLIENTS: usize = 12;
/// How many requests all of them send, where the machine lets them.
const PER_SECOND: u32 = 1_000;
/// What could not be sent in its time is made up for, but for what is older than this.
const ARREARS_MAX: Duration = Duration::from_millis(500);
/// One answer must be there within this: longer than any request may wait for a replica, and then for a second one.
const ANSWER: Duration = Duration::from_secs(15);

/// Clients at work.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    well: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Traffic {
    /// Half of the clients keep their connections, half open one for each request.
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let well = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let client = |nth: usize| {
            let (stop, well) = (Arc::clone(&stop), Arc::clone(&well));
            thread::spawn(move || client(address, nth, start, &stop, &well))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Traffic { stop, well, clients }
    }

    /// Waits until so many more were answered well.
    #[track_caller]
    pub fn wait_more(&self, count: u64) {
        let goal = self.well.load(Ordering::Relaxed) + count;
        wait_until(PATIENCE, "progress of the requests", || self.well.load(Ordering::Relaxed) >= goal);
    }

    /// Ends it; what is under way is waited for.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        self.clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
        all
    }
}

fn client(address: SocketAddr, nth: usize, start: Instant, stop: &AtomicBool, well: &AtomicU64) -> Tally {
    let keeps = nth.is_multiple_of(2);
    let clients = u32::try_from(CLIENTS).unwrap();
    let pause = Duration::from_secs(1) * clients / PER_SECOND;
    let mut due = start + pause * u32::try_from(nth).unwrap() / clients;
    let mut kept = None;
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        wait::until(due);
        due = (due + pause).max(Instant::now() - ARREARS_MAX);
        let errand = Errand::choose(nth, tally.sent);
        let sent = start.elapsed();
        let was_kept = kept.is_some();
        tally.sent += 1;
        match errand.run(address, &mut kept, keeps) {
            Outcome::Well => {
                tally.well += 1;
                well.fetch_add(1, Ordering::Relaxed);
            }
            outcome => {
                let failed = start.elapsed();
                tally.failures.push(Failure { sent, failed, method: errand.method, target: errand.target, was_kept, outcome });
            }
        }
    }
    tally
}

/// What the right answer to a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The worker's greeting.
    Greeting,
    /// The body of the request.
    Echo,
    /// So many dots.
    Dots(usize),
    /// No body.
    Nothing,
}

/// One request to make.
#[derive(Clone, Debug)]
pub struct Errand {
    pub method: &'static str,
    pub target: String,
    pub body: Option<Vec<u8>>,
    pub expected: Expected,
}

impl Errand {
    pub fn new(method: &'static str, target: &str, body: Option<Vec<u8>>, expected: Expected) -> Self {
        Errand { method, target: target.to_owned(), body, expected }
    }

    /// The next of a client: of every kind some. No two bodies are the same, so that no answer can stand in for another.
    fn choose(client: usize, number: u64) -> Self {
        let text = |bytes: usize| {
            let mut body = format!("client {client}, request {number} ").into_bytes();
            body.resize(bytes, b'x');
            Some(body)
        };
        match (number + client as u64) % 10 {
            0 => Errand::new("GET", "/?delay_ms=5", None, Expected::Greeting),
            1 => Errand::new("POST", "/echo", text(300), Expected::Echo),
            2 => Errand::new("HEAD", "/", None, Expected::Nothing),
            3 => Errand::new("PUT", "/echo", text(40), Expected::Echo),
            4 => Errand::new("POST", "/?delay_ms=5", None, Expected::Greeting),
            5 => Errand::new("DELETE", "/things/7", None, Expected::Greeting),
            6 => Errand::new("GET", "/?bytes=40000", None, Expected::Dots(40_000)),
            7 => Errand::new("POST", "/", text(3_000), Expected::Greeting),
            8 => Errand::new("OPTIONS", "/", None, Expected::Greeting),
            _ => Errand::new("GET", "/", None, Expected::Greeting),
        }
    }

    /// Makes it: on the kept connection if that is still there, else on a new one.
    pub fn run(&self, address: SocketAddr, kept: &mut Option<Kept>, keeps: bool) -> Outcome {
        let mut connection = match kept.take().filter(|kept| !kept.has_ended()) {
            Some(connection) => connection,
            None => match Kept::open(address) {
                Ok(connection) => connection,
                Err(error) => return Outcome::Unconnected(error.to_string()),
            },
        };
        let mut call = Call::new(self.method, &self.target).within(ANSWER);
        if let Some(body) = &self.body {
            call = call.body(body.clone());
        }
        if !keeps {
            call = call.header("Connection", "close");
        }
        let answer = match connection.send(&call) {
            Ok(answer) => answer,
            Err(error) => return broken(&error, &connection),
        };
        let outcome = self.judge(&answer);
        let is_over = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !is_over {
            *kept = Some(connection);
        } else if let Err(error) = connection.wait_end() {
            return Outcome::Wrong(format!("behind a whole answer: {error}"));
        }
        outcome
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        let body = &answer.body;
        let is_right = match self.expected {
            Expected::Greeting => body.starts_with(b"Hello from Worker ID: ") && body.ends_with(b"s\n"),
            Expected::Echo => Some(body) == self.body.as_ref(),
            Expected::Dots(count) => body.len() == count && body.iter().all(|byte| *byte == b'.'),
            Expected::Nothing => body.is_empty(),
        };
        match answer.status() {
            200 if is_right => Outcome::Well,
            status @ 502..=504 => {
                let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
                let detail = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
                Outcome::Refused { status, detail: detail.unwrap_or_default() }
            }
            status => Outcome::Wrong(format!("status {status}, {} bytes: {:.200}", body.len(), answer.text())),
        }
    }
}

fn broken(error: &io::Error, connection: &Kept) -> Outcome {
    match error.kind() {
        io::ErrorKind::TimedOut => Outcome::Late,
        io::ErrorKind::InvalidData => Outcome::Wrong(error.to_string()),
        _ if connection.has_begun() => Outcome::CutWithin(error.to_string()),
        _ => Outcome::CutBefore(error.to_string()),
    }
}
