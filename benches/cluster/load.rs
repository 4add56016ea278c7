//! Load: requests at a steady rate, each one counted.
//!
//! The rate does not wait for answers: a request that is held up delays no other, and none is left out. Nothing is sent
//! twice: a request that fails is a failed request, whatever its method. It runs on a thread of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::harness::http1::Connection;

/// How long a request may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How many failures are kept word for word.
pub const REASONS_MAX: usize = 3;

/// Load that is being made; it ends when this is dropped.
pub struct Load {
    stop: oneshot::Sender<()>,
    report: oneshot::Receiver<Report>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests that were sent.
    pub sent: u64,
    /// Requests that got no answer, or not the one that is due.
    pub failed: u64,
    /// The first failures, in words.
    pub reasons: Vec<String>,
    /// The longest time until an answer.
    pub slowest: Duration,
    /// For how long requests were sent.
    pub lasted: Duration,
}

impl Load {
    /// Sends `rate_per_s` requests a second to the gateway on `port`.
    pub fn start(port: u16, rate_per_s: u32) -> Result<Load> {
        let (stop, stopped) = oneshot::channel();
        let (reported, report) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the load's runtime")?;
        let made = move || {
            let load = generate(port, Duration::from_secs(1) / rate_per_s.max(1), stopped);
            // Nobody wants it when the scenario ended before.
            let _ = reported.send(LocalSet::new().block_on(&runtime, load));
        };
        thread::Builder::new().name("load".to_owned()).spawn(made).context("cannot start the load's thread")?;
        Ok(Load { stop, report })
    }

    /// Stops sending, waits for the answers that are due, and says what came of it.
    pub async fn stop(self) -> Result<Report> {
        let _ = self.stop.send(());
        self.report.await.context("the load generator ended without a report")
    }
}

/// Connections that wait for a request.
type Idle = Rc<RefCell<Vec<Connection>>>;

async fn generate(port: u16, every: Duration, mut stopped: oneshot::Receiver<()>) -> Report {
    let (begun, idle, mut report) = (Instant::now(), Idle::default(), Report::default());
    let mut answers = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = ticks.tick() => {
                answers.spawn_local(request(port, report.sent, Rc::clone(&idle)));
                report.sent += 1;
            }
            Some(answer) = answers.join_next() => report.count(answer.map_err(anyhow::Error::from).flatten()),
        }
    }
    report.lasted = begun.elapsed();
    // Each has its own deadline.
    while let Some(answer) = answers.join_next().await {
        report.count(answer.map_err(anyhow::Error::from).flatten());
    }
    report
}

impl Report {
    fn count(&mut self, answer: Result<Duration>) {
        match answer {
            Ok(took) => self.slowest = self.slowest.max(took),
            Err(error) => {
                self.failed += 1;
                if self.reasons.len() < REASONS_MAX {
                    self.reasons.push(format!("{error:#}"));
                }
            }
        }
    }
}

/// Request number `at`: mostly a quick GET, but every tenth takes 50 ms, and two of ten are a POST that takes as long: so there is always
/// something under way on each replica, and something that may not be sent twice.
async fn request(port: u16, at: u64, idle: Idle) -> Result<Duration> {
    let body = format!("request {at}");
    let (method, path, body) = match scattered(at) {
        0 => (Method::GET, "/?delay_ms=50", ""),
        1 | 2 => (Method::POST, "/echo?delay_ms=50", body.as_str()),
        _ => (Method::GET, "/", ""),
    };
    let begun = Instant::now();
    let exchange = async {
        // A statement of its own, so that nothing stays borrowed while we connect.
        let kept = idle.borrow_mut().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(port).await?,
        };
        let answer = connection.call(method.clone(), path, body).await?;
        ensure!(answer.status == StatusCode::OK, "{} {}", answer.status, answer.text());
        let due = if body.is_empty() { answer.text().starts_with("Hello from Worker ID: ") } else { answer.text() == body };
        ensure!(due, "a wrong answer: {}", answer.text());
        if connection.is_open() {
            idle.borrow_mut().push(connection);
        }
        Ok(())
    };
    let what = || format!("{method} {path} after {:.3} s", begun.elapsed().as_secs_f64());
    tokio::time::timeout(ANSWER_MAX, exchange).await.with_context(what)?.with_context(what)?;
    Ok(begun.elapsed())
}

/// 0 to 9, the same for the same number, in no order: requests of one kind that came at even steps would take turns over the same
/// few replicas, and none would be under way at certain moments.
fn scattered(at: u64) -> u64 {
    // Knuth's multiplicative hash (The Art of Computer Programming, volume 3, section 6.4), of 32 bits.
    ((at.wrapping_mul(2_654_435_761) & 0xffff_ffff) * 10) >> 32
}
