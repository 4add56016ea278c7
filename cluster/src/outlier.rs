//! Which replicas of an app get no requests for a while, for what their answers are like: passive outlier ejection.
//!
//! A replica is judged against the others of its app, never by itself: where all fail, leaving some out helps nobody, and a caller who
//! provokes errors cannot take replicas away from the rest. Only connections that fail are held against it at once. No more than a
//! part of the app is left out at any time, each only for a while, longer each time, and then it is as good as any other.
//!
//! Absent from here: the clock, and what leaving out means (the gateway uses who is left out as a second choice).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::route::RouteKey;
use crate::sample::Sample;

/// So many failed connections one after another are too many.
const CONNECTS_FAILED_MAX: u32 = 3;
/// How long what was seen counts, in milliseconds: a whole window and the one before it.
const WINDOW_MS: u64 = 2_500;
/// So many errors in that time are enough to look closer.
const ERRORS_MIN: u64 = 10;
/// So many requests in a window say how long a replica takes.
const TIMED_MIN: u64 = 20;
/// So many times as long as the others is too long.
const SLOWER_BY: u64 = 3;
/// A difference below this is not worth anybody's notice, in microseconds: a busy host makes more of it for whoever waits for a processor.
const SLOWER_MIN_US: u64 = 100_000;
/// A replica that has requests and answers none of them for so long hangs, in milliseconds.
const HANGS_AFTER_MS: u64 = 2_000;
/// So many requests must wait on it: one or two may be long ones.
const HANGING_MIN: u64 = 3;
/// So many answers of the others in that time say that they do answer: few, so that it is seen where there is little traffic as well.
const ANSWERS_MIN: u64 = 5;

/// How long a replica is left out the first time; doubled each time.
const EJECTED_MS: u64 = 5_000;
/// The longest time.
const EJECTED_MS_MAX: u64 = 60_000;
/// Who did well for so long begins anew.
const FORGIVEN_AFTER_MS: u64 = 60_000;

/// Why a replica is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Connections to it fail.
    Connect,
    /// It answers by errors, and others do not.
    Errors,
    /// It takes much longer than the others.
    Latency,
    /// It answers nothing at all, and the others do.
    Hang,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 4] = [Reason::Connect, Reason::Errors, Reason::Latency, Reason::Hang];

    /// The word for it in figures.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reason::Connect => "connect",
            Reason::Errors => "errors",
            Reason::Latency => "latency",
            Reason::Hang => "hang",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Connect => "connections to it fail",
            Reason::Errors => "it answers by errors, and the others do not",
            Reason::Latency => "it takes much longer than the others",
            Reason::Hang => "it answers nothing, and the others do",
        })
    }
}

/// What changes for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub key: RouteKey,
    /// It is left out for this reason and so many milliseconds; `None`: it is back.
    pub ejected: Option<(Reason, u64)>,
}

/// The judge of one app's replicas.
#[derive(Clone, Debug, Default)]
pub struct Outliers {
    max_ejected_percent: u8,
    replicas: BTreeMap<RouteKey, Record>,
    window_began_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Record {
    connects_failed: u32,
    now: Sample,
    before: Sample,
    /// How many requests wait for an answer of it, by the thread that says so.
    waiting: BTreeMap<usize, u64>,
    /// Since when it has had requests and answered none.
    silent_since_ms: Option<u64>,
    /// When it is back.
    ejected_until_ms: Option<u64>,
    /// How often it was left out without having done well for long in between.
    ejections: u32,
    back_since_ms: u64,
}

impl Record {
    fn seen(&self) -> Sample {
        let mut seen = self.now.clone();
        seen.add(&self.before);
        seen
    }

    fn hangs(&self, now_ms: u64) -> bool {
        let is_silent = self.silent_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= HANGS_AFTER_MS);
        is_silent && self.waiting.values().sum::<u64>() >= HANGING_MIN
    }

    fn forget(&mut self) {
        self.connects_failed = 0;
        self.silent_since_ms = None;
        self.now = Sample::default();
        self.before = Sample::default();
    }
}

impl Outliers {
    /// The app has these replicas from now on. Returned: who is back because fewer may be left out now.
    pub fn keep(&mut self, keys: &BTreeSet<RouteKey>, max_ejected_percent: u8, now_ms: u64) -> Vec<Change> {
        self.max_ejected_percent = max_ejected_percent.min(100);
        self.replicas.retain(|key, _| keys.contains(key));
        for key in keys {
            self.replicas.entry(*key).or_default();
        }
        let mut back = Vec::new();
        while self.ejected().count() > self.ejected_max() {
            let first = self.replicas.iter_mut().filter(|(_, record)| record.ejected_until_ms.is_some());
            let Some((key, record)) = first.min_by_key(|(_, record)| record.ejected_until_ms) else { break };
            record.ejected_until_ms = None;
            record.back_since_ms = now_ms;
            back.push(Change { key: *key, ejected: None });
        }
        back
    }

    /// Those who are left out.
    pub fn ejected(&self) -> impl Iterator<Item = RouteKey> + '_ {
        self.replicas.iter().filter(|(_, record)| record.ejected_until_ms.is_some()).map(|(key, _)| *key)
    }

    /// How many may be left out at once; never all.
    fn ejected_max(&self) -> usize {
        let all = self.replicas.len();
        (all * usize::from(self.max_ejected_percent) / 100).min(all.saturating_sub(1))
    }

    /// A connection to a replica could not be opened.
    pub fn connect_failed(&mut self, key: RouteKey, now_ms: u64) -> Option<Change> {
        let record = self.replicas.get_mut(&key)?;
        record.connects_failed += 1;
        if record.connects_failed < CONNECTS_FAILED_MAX {
            return None;
        }
        self.eject(key, Reason::Connect, now_ms)
    }

    /// A connection to a replica was opened.
    pub fn connected(&mut self, key: RouteKey) {
        if let Some(record) = self.replicas.get_mut(&key) {
            record.connects_failed = 0;
        }
    }

    /// Takes in what was seen of a replica's answers.
    pub fn add(&mut self, key: RouteKey, sample: &Sample) {
        if let Some(record) = self.replicas.get_mut(&key) {
            record.now.add(sample);
            record.silent_since_ms = None;
        }
    }

    /// So many requests wait for an answer of a replica, as far as `thread` knows. To be said after [`Outliers::add`], each time.
    pub fn waiting(&mut self, thread: usize, key: RouteKey, count: u64, now_ms: u64) {
        if let Some(record) = self.replicas.get_mut(&key) {
            record.waiting.insert(thread, count);
            if record.waiting.values().sum::<u64>() == 0 {
                record.silent_since_ms = None;
            } else {
                record.silent_since_ms.get_or_insert(now_ms);
            }
        }
    }

    /// Time has passed: who is back, and who is left out from now on.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, record) in &mut self.replicas {
            if record.ejected_until_ms.is_some_and(|until| now_ms >= until) {
                record.ejected_until_ms = None;
                record.back_since_ms = now_ms;
                // What it did before it was left out is paid for.
                record.forget();
                changes.push(Change { key: *key, ejected: None });
            } else if record.ejected_until_ms.is_none() && now_ms.saturating_sub(record.back_since_ms) >= FORGIVEN_AFTER_MS {
                record.ejections = 0;
            }
        }
        changes.extend(self.judge(now_ms));
        if now_ms.saturating_sub(self.window_began_ms) >= WINDOW_MS {
            self.window_began_ms = now_ms;
            for record in self.replicas.values_mut() {
                record.before = std::mem::take(&mut record.now);
            }
        }
        changes
    }

    /// Compares each with the others that get requests.
    fn judge(&mut self, now_ms: u64) -> Vec<Change> {
        if self.ejected_max() == 0 {
            return Vec::new();
        }
        let compared: Vec<(RouteKey, &Record)> =
            self.replicas.iter().filter(|(_, record)| record.ejected_until_ms.is_none()).map(|(key, record)| (*key, record)).collect();
        let mut reasons = Vec::new();
        for (key, mine) in &compared {
            let others = |of: fn(&Record) -> Sample| {
                let mut sum = Sample::default();
                compared.iter().filter(|(other, _)| other != key).for_each(|(_, record)| sum.add(&of(record)));
                sum
            };
            let is_slow = |of: fn(&Record) -> Sample| is_slow_alone(&of(mine), &others(of));
            if fails_alone(&mine.seen(), &others(Record::seen)) {
                reasons.push((*key, Reason::Errors));
            // In two windows after each other: once may be chance.
            } else if is_slow(|record| record.before.clone()) && is_slow(|record| record.now.clone()) {
                reasons.push((*key, Reason::Latency));
            } else if mine.hangs(now_ms) && others(Record::seen).requests() >= ANSWERS_MIN {
                reasons.push((*key, Reason::Hang));
            }
        }
        reasons.into_iter().filter_map(|(key, reason)| self.eject(key, reason, now_ms)).collect()
    }

    fn eject(&mut self, key: RouteKey, reason: Reason, now_ms: u64) -> Option<Change> {
        let is_full = self.ejected().count() >= self.ejected_max();
        let record = self.replicas.get_mut(&key).filter(|record| record.ejected_until_ms.is_none())?;
        if is_full {
            return None;
        }
        let for_ms = EJECTED_MS.saturating_mul(1 << record.ejections.min(16)).min(EJECTED_MS_MAX);
        record.ejections += 1;
        record.ejected_until_ms = Some(now_ms.saturating_add(for_ms));
        record.forget();
        Some(Change { key, ejected: Some((reason, for_ms)) })
    }
}

/// At least half of its requests fail, and of the others' less than half as many.
fn fails_alone(mine: &Sample, others: &Sample) -> bool {
    if mine.errors() < ERRORS_MIN || mine.errors() * 2 < mine.requests() || others.is_empty() {
        return false;
    }
    // others.errors/others.requests < mine.errors/mine.requests/2, without a division.
    u128::from(others.errors()) * 2 * u128::from(mine.requests()) < u128::from(mine.errors()) * u128::from(others.requests())
}

/// Its usual request and its mean one take three times as long as those of the others: the one or the other alone may be chance, where
/// requests are of several kinds.
fn is_slow_alone(mine: &Sample, others: &Sample) -> bool {
    let is_longer = |mine: u64, theirs: u64| mine >= theirs.saturating_mul(SLOWER_BY).max(theirs.saturating_add(SLOWER_MIN_US));
    mine.requests().min(others.requests()) >= TIMED_MIN
        && is_longer(mine.median_us(), others.median_us())
        && is_longer(mine.mean_us(), others.mean_us())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ReplicaId;

    fn key(n: u128) -> RouteKey {
        RouteKey { replica: ReplicaId(n), attempt: 1 }
    }

    fn judge(count: u128, percent: u8) -> Outliers {
        let mut outliers = Outliers::default();
        outliers.keep(&(1..=count).map(key).collect(), percent, 0);
        outliers
    }

    fn sample(requests: u64, errors: u64, us: u64) -> Sample {
        let mut sample = Sample::default();
        (0..requests).for_each(|nth| sample.count(nth < errors, us));
        sample
    }

    fn out(changes: &[Change]) -> Vec<(u128, Option<Reason>)> {
        changes.iter().map(|change| (change.key.replica.0, change.ejected.map(|(reason, _)| reason))).collect()
    }

    #[test]
    fn three_failed_connections_in_a_row_are_enough_and_one_that_opens_forgives_them() {
        let mut outliers = judge(4, 50);
        assert_eq!(outliers.connect_failed(key(1), 0), None);
        assert_eq!(outliers.connect_failed(key(1), 0), None);
        outliers.connected(key(1));
        assert_eq!(outliers.connect_failed(key(1), 0), None);
        assert_eq!(outliers.connect_failed(key(1), 0), None);
        assert_eq!(outliers.connect_failed(key(1), 7), Some(Change { key: key(1), ejected: Some((Reason::Connect, 5_000)) }));
        assert_eq!(outliers.connect_failed(key(1), 7), None);
        assert_eq!(outliers.tick(5_006), []);
        assert_eq!(outliers.tick(5_007), [Change { key: key(1), ejected: None }]);
    }

    #[test]
    fn who_answers_by_errors_alone_is_left_out() {
        let mut outliers = judge(3, 50);
        outliers.add(key(1), &sample(20, 15, 1_000));
        outliers.add(key(2), &sample(20, 1, 1_000));
        outliers.add(key(3), &sample(20, 2, 1_000));
        assert_eq!(out(&outliers.tick(100)), [(1, Some(Reason::Errors))]);
    }

    #[test]
    fn where_all_answer_by_errors_nobody_is_left_out() {
        let mut outliers = judge(4, 100);
        for n in 1..=4 {
            outliers.add(key(n), &sample(100, 70 + u64::try_from(n).unwrap_or_default(), 1_000));
        }
        assert_eq!(outliers.tick(100), []);
    }

    #[test]
    fn few_errors_are_no_burst() {
        let mut outliers = judge(2, 50);
        outliers.add(key(1), &sample(9, 9, 1_000));
        outliers.add(key(2), &sample(9, 0, 1_000));
        assert_eq!(outliers.tick(100), []);
    }

    #[test]
    fn who_has_requests_and_answers_none_is_left_out_if_the_others_answer() {
        let mut outliers = judge(3, 50);
        let mut told = Vec::new();
        for now_ms in (0..=3_000).step_by(250) {
            for n in [2, 3] {
                outliers.add(key(n), &sample(2, 0, 1_000));
            }
            outliers.waiting(0, key(1), 2, now_ms);
            outliers.waiting(1, key(1), 1, now_ms);
            outliers.waiting(0, key(2), 9, now_ms);
            told.extend(out(&outliers.tick(now_ms)).into_iter().map(|change| (now_ms, change)));
        }
        assert_eq!(told, [(2_000, (1, Some(Reason::Hang)))]);
        // Four requests in a second, for three that answer and one that does not.
        let mut outliers = judge(4, 50);
        let mut told = Vec::new();
        for second in 0..=6 {
            for n in [2, 3, 4] {
                outliers.add(key(n), &sample(1, 0, 1_000));
            }
            outliers.waiting(0, key(1), second + 1, second * 1_000);
            told.extend(out(&outliers.tick(second * 1_000)).into_iter().map(|change| (second, change)));
        }
        assert_eq!(told, [(2, (1, Some(Reason::Hang)))]);
        // Where nobody answers, nobody hangs alone.
        let mut outliers = judge(3, 50);
        for now_ms in (0..=9_000).step_by(250) {
            (1..=3).for_each(|n| outliers.waiting(0, key(n), 9, now_ms));
            assert_eq!(outliers.tick(now_ms), []);
        }
    }

    /// Who is left out when this was seen in one window, and the same in the next.
    fn after_two_windows(samples: &[Sample]) -> Vec<(u128, Option<Reason>)> {
        let mut outliers = judge(samples.len() as u128, 50);
        let see = |outliers: &mut Outliers| (1..).zip(samples).for_each(|(n, sample)| outliers.add(key(n), sample));
        see(&mut outliers);
        assert_eq!(outliers.tick(WINDOW_MS), [], "one window may be chance");
        see(&mut outliers);
        out(&outliers.tick(WINDOW_MS + 1))
    }

    #[test]
    fn who_takes_much_longer_than_the_others_is_left_out() {
        let three = |us: [u64; 3]| us.map(|us| sample(30, 0, us));
        assert_eq!(after_two_windows(&three([2_000, 190_000, 3_000])), [(2, Some(Reason::Latency))]);
        // Ten times as long as next to nothing is next to nothing.
        assert_eq!(after_two_windows(&three([200, 9_000, 300])), []);
        assert_eq!(after_two_windows(&three([200_000, 500_000, 180_000])), []);
    }

    #[test]
    fn chance_in_the_mixture_of_requests_is_nobodys_fault() {
        // One long poll among quick requests; and an even mixture of two kinds, which falls to either side of the middle.
        let mut polled = sample(29, 0, 1_000);
        polled.count(false, 60_000_000);
        assert_eq!(after_two_windows(&[polled, sample(30, 0, 1_000)]), []);
        let mixed = [24, 26].map(|quick| {
            let mut mixed = sample(quick, 0, 1_000);
            mixed.add(&sample(50 - quick, 0, 800_000));
            mixed
        });
        assert_eq!(after_two_windows(&mixed), []);
    }

    #[test]
    fn each_time_is_longer_until_it_did_well_for_a_minute() {
        let mut outliers = judge(2, 50);
        let mut now_ms = 0;
        let mut times = Vec::new();
        for _ in 0..6 {
            let change = (0..3).find_map(|_| outliers.connect_failed(key(1), now_ms));
            let for_ms = change.and_then(|change| change.ejected).map_or(0, |(_, for_ms)| for_ms);
            times.push(for_ms);
            now_ms += for_ms;
            assert_eq!(out(&outliers.tick(now_ms)), [(1, None)]);
        }
        assert_eq!(times, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        now_ms += FORGIVEN_AFTER_MS;
        outliers.tick(now_ms);
        let change = (0..3).find_map(|_| outliers.connect_failed(key(1), now_ms));
        assert_eq!(change.and_then(|change| change.ejected), Some((Reason::Connect, 5_000)));
    }

    #[test]
    fn what_was_seen_is_forgotten_after_two_windows() {
        let mut outliers = judge(2, 50);
        outliers.add(key(1), &sample(9, 9, 1_000));
        outliers.add(key(2), &sample(100, 0, 1_000));
        outliers.tick(WINDOW_MS);
        outliers.tick(2 * WINDOW_MS);
        outliers.add(key(1), &sample(9, 9, 1_000));
        outliers.add(key(2), &sample(100, 0, 1_000));
        assert_eq!(outliers.tick(2 * WINDOW_MS + 1), []);
    }

    proptest! {
        /// Never more are left out than the part says, and never all.
        #[test]
        fn no_more_than_a_part_is_ever_left_out(
            percent in 0u8..=110,
            steps in prop::collection::vec((0u8..5, 1u128..9, 0u64..4_000, 0u64..200), 1..80),
        ) {
            let mut outliers = judge(6, percent);
            let mut now_ms = 0;
            let mut known: BTreeSet<RouteKey> = (1..=6).map(key).collect();
            let mut left_out: BTreeSet<RouteKey> = BTreeSet::new();
            for (what, n, step_ms, errors) in steps {
                now_ms += step_ms;
                let changes = match what {
                    0 => outliers.connect_failed(key(n), now_ms).into_iter().collect(),
                    1 => { outliers.add(key(n), &sample(200, errors, 1_000 * errors)); Vec::new() }
                    2 => { outliers.connected(key(n)); Vec::new() }
                    3 => {
                        known = (1..=n).map(key).collect();
                        left_out.retain(|key| known.contains(key));
                        outliers.keep(&known, percent, now_ms)
                    }
                    _ => outliers.tick(now_ms),
                };
                for change in changes {
                    let is_news = if change.ejected.is_some() { left_out.insert(change.key) } else { left_out.remove(&change.key) };
                    prop_assert!(is_news, "each change is told once");
                }
                prop_assert_eq!(&left_out, &outliers.ejected().collect());
                prop_assert!(left_out.len() * 100 <= known.len() * usize::from(percent));
                prop_assert!(left_out.len() < known.len());
            }
            // And all come back, once what was seen is forgotten.
            for later in 1..=4 {
                outliers.tick(now_ms + later * EJECTED_MS_MAX);
            }
            prop_assert_eq!(outliers.ejected().count(), 0);
        }
    }
}
