//! What became of many requests, each of them counted.

use std::fmt;
use std::time::Duration;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was the right one, whole, and nothing came behind it.
    Well,
    /// The gateway said that it could not be answered: 502, 503 or 504.
    Refused { status: u16, detail: String },
    /// No connection was to be had.
    Unconnected(String),
    /// The connection ended before the first byte of an answer.
    CutBefore(String),
    /// The connection ended within the answer, and in a way that tells.
    CutWithin(String),
    /// No answer, or not all of it, came in time.
    Late,
    /// An answer came that is not the right one, or no answer of HTTP/1.1.
    Wrong(String),
}

/// A request that was not answered well.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Since the first request, when it was sent and when it had failed.
    pub sent: Duration,
    pub failed: Duration,
    pub method: &'static str,
    pub target: String,
    pub was_kept: bool,
    pub outcome: Outcome,
}

impl Failure {
    /// Doing it twice does what doing it once does (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    /// It may be lost when what had it ends without a warning: an answer that had begun; or a POST that somebody had got, and the
    /// client is told so.
    fn may_be_lost_abruptly(&self) -> bool {
        match &self.outcome {
            Outcome::CutWithin(_) => true,
            Outcome::Refused { status: 502, detail } => {
                !self.is_idempotent() && detail.contains("got the request") && detail.contains("may have carried it out")
            }
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = if self.was_kept { "a used connection" } else { "a new connection" };
        let (sent, failed) = (self.sent, self.failed);
        write!(f, "{} {} on {connection}, sent at {sent:.3?}, failed at {failed:.3?}: {:?}", self.method, self.target, self.outcome)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub well: u64,
    pub failures: Vec<Failure>,
}

impl Tally {
    /// Adds those of another client.
    pub fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        self.well += other.well;
        self.failures.extend(other.failures);
    }

    /// Every request was answered well, whatever its method.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        self.assert_complete();
        assert!(self.failures.is_empty(), "{self}");
    }

    /// No idempotent request failed before its answer had begun; of the others only those that were under way at an end, at most
    /// `most`, each told that it may have been carried out.
    #[track_caller]
    pub fn assert_only_what_was_under_way_lost(&self, most: usize) {
        self.assert_complete();
        let unfit: Vec<String> = self.failures.iter().filter(|failure| !failure.may_be_lost_abruptly()).map(ToString::to_string).collect();
        assert!(unfit.is_empty(), "{} requests were lost that must not be: {unfit:#?}\nof all: {self}", unfit.len());
        assert!(self.failures.len() <= most, "more than {most} were lost, so not only what was under way: {self}");
    }

    #[track_caller]
    fn assert_complete(&self) {
        assert!(self.well >= 200, "this was no load: {self}");
        assert_eq!(self.sent, self.well + self.failures.len() as u64, "a request was not counted");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests: {} answered well, {} failed", self.sent, self.well, self.failures.len())?;
        self.failures.iter().take(20).try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}
