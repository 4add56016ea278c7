//! Whether one attempt of a replica is ready, and whether it lives, by its checks: which is due when, and what an outcome means.
//!
//! Absent from here: carrying a check out, and what follows for the replica (`supervise`). A check passes or fails only by so many
//! outcomes in a row; one that has never passed has a grace. The first check of each kind comes at once and is repeated quickly until
//! it passes; from then on it comes once in its interval, at a point of the interval that is the replica's own, so that the checks of
//! many replicas spread.

mod check;
#[cfg(test)]
mod tests;

pub use check::{
    BadChecks, BadStatus, CHECKS_MAX, Check, GRACE_MS_MAX, INTERVAL_MS, Kind, Purpose, StatusRange, THRESHOLD_MAX, TIMEOUT_MS, validate,
};

use serde::{Deserialize, Serialize};

use crate::now::Now;

/// The longest wait before a check that has not passed yet is made again within its grace, in milliseconds.
const EAGER_MS_MAX: u64 = 100;

/// The points of an interval lie so far apart, in milliseconds.
const POINT_MS: u64 = 50;

/// The checks of one attempt of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    started_ms: u64,
    /// Which point of their interval the checks have.
    seed: u64,
    tracks: Vec<Track>,
    /// What was said last.
    is_ready: bool,
    is_unhealthy: bool,
    /// Something changed that is reported, ages aside.
    is_news: bool,
}

/// One check and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Track {
    /// Its place in the spec.
    nth: usize,
    check: Check,
    purpose: Purpose,
    standing: Standing,
    /// Since when it stands so, in monotonic milliseconds; of one that fails, since its first failure.
    since_ms: u64,
    /// In a row.
    passes: u32,
    failures: u32,
    /// When the first of these failures was, in monotonic milliseconds.
    failing_since_ms: u64,
    /// What the last failure of these was.
    error: Option<String>,
    /// When it is due, in monotonic milliseconds; `None` while it is carried out, or when only the replica can move it.
    due_ms: Option<u64>,
    /// When the one that is carried out was due.
    was_due_ms: u64,
    wait_ms: u64,
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has neither passed nor failed for good.
    Waiting,
    /// It passes.
    Passing,
    /// It fails.
    Failing,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed: see [`Health::due_ms`].
    Tick,
    /// A check was carried out; a failure is told in words that follow its name.
    Done(usize, Result<(), String>),
    /// The replica spoke up.
    Pushed(Push),
}

/// What a replica may say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is ready, and lives.
    Ready,
    /// It lives.
    Alive,
    /// It lives, and wants no requests; in words.
    NotReady(String),
    /// It wants to be started again; in words.
    Failing(String),
}

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Carry out the check with this place in the spec, and say [`Event::Done`].
    CarryOut(usize),
    /// The replica is ready.
    Ready,
    /// It is not ready any more.
    Unready,
    /// It does not live; a sentence. Said once, and nothing after it.
    Unhealthy(String),
}

/// How one check of a replica stands, as its agent reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What people call it, such as `http /healthz`.
    pub check: String,
    /// What it decides.
    #[serde(rename = "for")]
    pub purpose: Purpose,
    /// How it stands.
    pub state: Standing,
    /// For how long it has stood so, in milliseconds; one that fails: since its first failure.
    #[serde(default)]
    pub age_ms: u64,
    /// With what it failed last, where it did not pass since; in words that follow its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Without a check for readiness, a replica is ready once its port has accepted a connection, or once it has lived for a moment with a
/// socket that was handed over to it.
#[must_use]
pub fn port_decides(checks: &[Check]) -> bool {
    !checks.iter().any(|check| check.purpose.is_readiness())
}

/// Why a replica that runs gets no requests, by its checks: for how long, and with what. `later_ms`: how old the reports are.
#[must_use]
pub fn unready_sentence(checks: &[CheckReport], later_ms: u64) -> Option<String> {
    let check = checks.iter().find(|check| check.purpose.is_readiness() && check.state != Standing::Passing)?;
    let age_ms = check.age_ms.saturating_add(later_ms);
    let verb = if check.state == Standing::Failing { "has failed" } else { "has not passed" };
    let with = if check.error.is_empty() { String::new() } else { format!(": it {}", check.error) };
    Some(format!("not ready: its check {} {verb} for {}.{} s{with}", check.check, age_ms / 1000, age_ms % 1000 / 100))
}

impl Health {
    /// The checks of an attempt whose process has just been started. Equal seeds put them at equal points of their intervals.
    #[must_use]
    pub fn begin(checks: &[Check], seed: u64, now: Now) -> Self {
        let mut tracks = Vec::new();
        for (nth, check) in checks.iter().enumerate() {
            // What a replica says of its readiness holds until it says otherwise; that it lives it must say again and again.
            let purposes: &[Purpose] = match (&check.kind, check.purpose) {
                (Kind::Push, Purpose::Both) => &[Purpose::Readiness, Purpose::Liveness],
                (_, Purpose::Readiness) => &[Purpose::Readiness],
                (_, Purpose::Liveness) => &[Purpose::Liveness],
                (_, Purpose::Both) => &[Purpose::Both],
            };
            tracks.extend(purposes.iter().map(|purpose| Track::new(nth, check.clone(), *purpose, now)));
        }
        Health { started_ms: now.mono_ms, seed, tracks, is_ready: false, is_unhealthy: false, is_news: true }
    }

    /// The checks of an attempt that was `is_ready` under the agent before this one: it counts as ready until they say otherwise, and what it
    /// said of its readiness itself need not be said again.
    #[must_use]
    pub fn resume(checks: &[Check], seed: u64, is_ready: bool, now: Now) -> Self {
        let mut health = Health::begin(checks, seed, now);
        health.is_ready = is_ready;
        for track in health.tracks.iter_mut().filter(|track| is_ready && track.purpose.is_readiness()) {
            track.standing = Standing::Passing;
        }
        health
    }

    /// When it must get an [`Event::Tick`] at the latest, in monotonic milliseconds.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        if self.is_unhealthy { None } else { self.tracks.iter().filter_map(|track| track.due_ms).min() }
    }

    /// Takes in what happened and says what follows.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        if self.is_unhealthy {
            return vec![];
        }
        let mut effects = Vec::new();
        match event {
            Event::Tick => self.tick(now, &mut effects),
            Event::Done(nth, result) => {
                let (started_ms, seed) = (self.started_ms, self.seed);
                let running = |track: &&mut Track| track.nth == nth && track.due_ms.is_none() && track.check.kind != Kind::Push;
                for track in self.tracks.iter_mut().filter(running) {
                    let had_passed = track.standing == Standing::Passing;
                    self.is_news |= track.take(result.clone(), started_ms, now);
                    track.plan(had_passed, started_ms, seed, now);
                }
            }
            Event::Pushed(push) => {
                for track in self.tracks.iter_mut().filter(|track| track.check.kind == Kind::Push) {
                    track.hear(&push, now);
                    self.is_news = true;
                }
            }
        }
        self.judge(&mut effects);
        effects
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let started_ms = self.started_ms;
        for track in &mut self.tracks {
            let Some(due_ms) = track.due_ms.filter(|due_ms| *due_ms <= now.mono_ms) else { continue };
            if track.check.kind == Kind::Push {
                self.is_news |= track.take(Err(format!("was not heard for {} ms", track.check.interval_ms)), started_ms, now);
                track.due_ms = Some(now.plus_ms(track.check.interval_ms).mono_ms);
            } else {
                track.was_due_ms = due_ms;
                track.due_ms = None;
                effects.push(Effect::CarryOut(track.nth));
            }
        }
    }

    fn judge(&mut self, effects: &mut Vec<Effect>) {
        let dead = self.tracks.iter().find(|track| track.purpose.is_liveness() && track.standing == Standing::Failing);
        if let Some(track) = dead {
            let times = if track.failures == 1 { String::new() } else { format!(" {} times in a row", track.failures) };
            let error = track.error.as_deref().unwrap_or_default();
            let why = format!("its liveness check {} failed{times}: it {error}", track.check.kind);
            self.is_unhealthy = true;
            effects.clear();
            effects.push(Effect::Unhealthy(why));
            return;
        }
        let mut deciding = self.tracks.iter().filter(|track| track.purpose.is_readiness()).peekable();
        let is_ready = deciding.peek().is_some() && deciding.all(|track| track.standing == Standing::Passing);
        if is_ready != self.is_ready {
            self.is_ready = is_ready;
            effects.push(if is_ready { Effect::Ready } else { Effect::Unready });
        }
    }

    /// Whether the reports have changed since this was asked last, ages aside.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// How all of them stand.
    #[must_use]
    pub fn reports(&self, now: Now) -> Vec<CheckReport> {
        self.tracks
            .iter()
            .map(|track| CheckReport {
                check: track.check.kind.to_string(),
                purpose: track.purpose,
                state: track.standing,
                age_ms: now.since_ms(track.since_ms),
                error: track.error.clone().unwrap_or_default(),
            })
            .collect()
    }
}

impl Track {
    fn new(nth: usize, check: Check, purpose: Purpose, now: Now) -> Self {
        let due_ms = match (&check.kind, purpose) {
            (Kind::Push, Purpose::Readiness) => None,
            (Kind::Push, _) => Some(now.plus_ms(check.initial_grace_ms.max(check.interval_ms)).mono_ms),
            _ => Some(now.mono_ms),
        };
        Track {
            nth,
            check,
            purpose,
            standing: Standing::Waiting,
            since_ms: now.mono_ms,
            passes: 0,
            failures: 0,
            failing_since_ms: now.mono_ms,
            error: None,
            due_ms,
            was_due_ms: now.mono_ms,
            wait_ms: 0,
        }
    }

    fn is_in_grace(&self, started_ms: u64, now: Now) -> bool {
        self.standing == Standing::Waiting && now.since_ms(started_ms) < self.check.initial_grace_ms
    }

    /// One outcome. True when there is something new to report.
    fn take(&mut self, result: Result<(), String>, started_ms: u64, now: Now) -> bool {
        let before = (self.standing, self.error.take());
        self.count(result, started_ms, now);
        before.0 != self.standing || before.1 != self.error
    }

    fn count(&mut self, result: Result<(), String>, started_ms: u64, now: Now) {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                if self.standing != Standing::Passing && self.passes >= self.check.healthy {
                    self.standing = Standing::Passing;
                    self.since_ms = now.mono_ms;
                }
            }
            Err(error) => {
                let is_in_grace = self.is_in_grace(started_ms, now);
                self.passes = 0;
                self.error = Some(error);
                if is_in_grace {
                    return;
                }
                if self.failures == 0 {
                    self.failing_since_ms = now.mono_ms;
                }
                self.failures = self.failures.saturating_add(1);
                if self.standing != Standing::Failing && self.failures >= self.check.unhealthy {
                    self.standing = Standing::Failing;
                    self.since_ms = self.failing_since_ms;
                }
            }
        }
    }

    /// When it comes next.
    fn plan(&mut self, had_passed: bool, started_ms: u64, seed: u64, now: Now) {
        let interval_ms = self.check.interval_ms;
        let due_ms = if self.standing == Standing::Waiting && now.since_ms(started_ms) < self.check.initial_grace_ms {
            let is_costly = matches!(self.check.kind, Kind::Exec { .. });
            let longest_ms = if is_costly { interval_ms } else { EAGER_MS_MAX.min(interval_ms) };
            let shortest_ms = if is_costly { EAGER_MS_MAX } else { 1 };
            self.wait_ms = (self.wait_ms * 3 / 2 + 1).clamp(shortest_ms.min(longest_ms), longest_ms);
            now.mono_ms.saturating_add(self.wait_ms)
        } else if self.standing == Standing::Passing && !had_passed {
            // From now on at its own point of the interval. Points that are near each other are one: it takes as many turns.
            let point_ms = now.mono_ms.saturating_add(1 + spread(seed, self.nth) % interval_ms.max(1));
            point_ms.checked_next_multiple_of(POINT_MS).unwrap_or(u64::MAX)
        } else {
            // A slow answer moves no later check from its point; points that have passed are left out.
            let missed = now.since_ms(self.was_due_ms) / interval_ms.max(1);
            self.was_due_ms.saturating_add(interval_ms.saturating_mul(missed.saturating_add(1)))
        };
        self.due_ms = Some(due_ms);
    }

    /// The replica said something.
    fn hear(&mut self, push: &Push, now: Now) {
        let at_once = |track: &mut Track, error: &str| {
            track.passes = 0;
            track.failures = track.failures.saturating_add(1);
            track.error = Some(error.to_owned());
            if track.standing != Standing::Failing {
                track.standing = Standing::Failing;
                track.since_ms = now.mono_ms;
            }
        };
        match (push, self.purpose.is_liveness()) {
            (Push::Failing(why), true) => at_once(self, why),
            (Push::NotReady(why), false) => at_once(self, why),
            (Push::Failing(_) | Push::Alive, false) => {}
            (Push::Ready, false) => {
                self.take(Ok(()), now.mono_ms, now);
            }
            (Push::Ready | Push::Alive | Push::NotReady(_), true) => {
                self.take(Ok(()), now.mono_ms, now);
                self.due_ms = Some(now.plus_ms(self.check.interval_ms).mono_ms);
            }
        }
    }
}

/// A number that is spread evenly over all replicas and checks (the finaliser of SplitMix64, Steele et al. 2014).
fn spread(seed: u64, nth: usize) -> u64 {
    let mut z = seed.wrapping_add((nth as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
