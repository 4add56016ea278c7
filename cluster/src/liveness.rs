//! Whether an agent is there, judged by what was heard of it.
//!
//! Absent from here: sockets. A shell dials, reads and reports; what follows from that is decided here.
//!
//! Silence alone is weak evidence, since the one who hears nothing may himself be the one who was cut off or asleep; a refused
//! dial is strong evidence: somebody is there to say that nobody listens.

use crate::now::Now;

/// Refused dials within [`REFUSALS_WITHIN_MS`] that prove that an agent's process is gone.
pub const REFUSALS_MIN: usize = 3;
/// See [`REFUSALS_MIN`].
pub const REFUSALS_WITHIN_MS: u64 = 300;

/// How long to wait before the next dial, after so many failures in a row: quickly at first, to tell a dead process from a
/// broken connection, then every second for ever.
#[must_use]
pub fn redial_after_ms(failures_in_a_row: u32) -> u64 {
    match failures_in_a_row {
        0 => 0,
        1..=3 => 100,
        _ => 1_000,
    }
}

/// What is known of the way to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It has not answered yet since it was added, or since this controller started.
    New {
        /// Why the last dial failed.
        error: Option<String>,
    },
    /// Its stream of observations is open.
    Up {
        /// When the last line came, in monotonic milliseconds.
        heard_at_ms: u64,
    },
    /// Its stream broke; it is being dialled.
    Broken {
        /// When the last line came, in monotonic milliseconds.
        heard_at_ms: u64,
        /// When dials were refused, in monotonic milliseconds; the last few.
        refused_at_ms: Vec<u64>,
        /// A sentence.
        error: String,
    },
    /// It is taken for dead.
    Lost {
        /// A sentence.
        why: String,
        /// Its process is known to have ended, and its replicas with it.
        process_gone: bool,
    },
    /// It said goodbye and went.
    Left,
}

impl Contact {
    /// Milliseconds since something was heard, where that counts.
    #[must_use]
    pub fn silent_ms(&self, now: Now) -> Option<u64> {
        match self {
            Contact::Up { heard_at_ms } | Contact::Broken { heard_at_ms, .. } => Some(now.since_ms(*heard_at_ms)),
            _ => None,
        }
    }

    /// Silence begins anew: the controller itself was not listening.
    pub fn restart_clock(&mut self, now: Now) {
        match self {
            Contact::Up { heard_at_ms } => *heard_at_ms = now.mono_ms,
            Contact::Broken { heard_at_ms, refused_at_ms, .. } => {
                *heard_at_ms = now.mono_ms;
                refused_at_ms.clear();
            }
            _ => {}
        }
    }

    /// The stream of observations ended.
    pub fn stream_ended(&mut self, error: String) {
        if let Contact::Up { heard_at_ms } = *self {
            *self = Contact::Broken { heard_at_ms, refused_at_ms: vec![], error };
        }
    }

    /// A dial failed. `leaving`: it had said goodbye; `outlived`: its replicas outlive it (`keep_workers`), so its end proves nothing about them.
    pub fn dial_failed(&mut self, refused: bool, error: String, leaving: bool, outlived: bool, now: Now) {
        match self {
            Contact::New { error: last } => *last = Some(error),
            Contact::Broken { refused_at_ms, error: last, .. } => {
                *last = error;
                if !refused {
                    return;
                }
                if leaving {
                    *self = Contact::Left;
                    return;
                }
                refused_at_ms.push(now.mono_ms);
                refused_at_ms.retain(|at| now.since_ms(*at) <= REFUSALS_WITHIN_MS);
                if refused_at_ms.len() >= REFUSALS_MIN && !outlived {
                    *self = Contact::Lost { why: "its agent's process is gone: nothing listens at its URL".to_owned(), process_gone: true };
                }
            }
            _ => {}
        }
    }
}

/// Whether the controller, rather than the nodes, may be what is cut off.
///
/// While no node is left ready, silence makes nobody lost; nor does it after that, until each node has returned or
/// `lost_after` has passed since the first did. A controller starts in that state, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blackout {
    /// When the first node returned, in monotonic milliseconds.
    pub first_return_at_ms: Option<u64>,
}

impl Blackout {
    /// The next state: `any_ready` - at least one node is ready; `any_missing` - at least one that was there is silent, or has not
    /// reported since the controller started.
    #[must_use]
    pub fn next(before: Option<Self>, any_ready: bool, any_missing: bool, lost_after_ms: u64, now: Now) -> Option<Self> {
        match (before, any_ready) {
            (_, false) => Some(Blackout { first_return_at_ms: None }),
            (None, true) => None,
            (Some(_), true) if !any_missing => None,
            (Some(blackout), true) => {
                let first = blackout.first_return_at_ms.unwrap_or(now.mono_ms);
                if now.since_ms(first) >= lost_after_ms { None } else { Some(Blackout { first_return_at_ms: Some(first) }) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn broken() -> Contact {
        Contact::Broken { heard_at_ms: 0, refused_at_ms: vec![], error: String::new() }
    }

    #[test]
    fn three_dials_refused_within_300_ms_prove_that_the_process_is_gone() {
        let mut contact = broken();
        for ms in [0, 100, 200] {
            assert!(matches!(contact, Contact::Broken { .. }));
            contact.dial_failed(true, String::new(), false, false, at(ms));
        }
        assert!(matches!(contact, Contact::Lost { process_gone: true, .. }));
    }

    #[test]
    fn dials_that_time_out_or_are_refused_now_and_then_or_where_workers_are_kept_prove_nothing() {
        let mut slow = broken();
        let mut timed_out = broken();
        let mut kept = broken();
        for ms in [0, 200, 400, 600, 800] {
            slow.dial_failed(true, String::new(), false, false, at(ms));
            timed_out.dial_failed(false, String::new(), false, false, at(ms / 4));
            kept.dial_failed(true, String::new(), false, true, at(ms / 4));
        }
        for contact in [slow, timed_out, kept] {
            assert!(matches!(contact, Contact::Broken { .. }), "{contact:?}");
        }
    }

    #[test]
    fn an_agent_that_said_goodbye_has_left_at_the_first_refusal() {
        let mut contact = broken();
        contact.dial_failed(true, String::new(), true, false, at(0));
        assert_eq!(contact, Contact::Left);
    }

    #[test]
    fn a_blackout_ends_when_all_are_back_or_lost_after_has_passed_since_the_first() {
        let step = |before, ready, missing, ms| Blackout::next(before, ready, missing, 3_000, at(ms));
        let dark = step(None, false, true, 0);
        assert_eq!(dark, Some(Blackout { first_return_at_ms: None }));
        let first = step(dark, true, true, 9_000);
        assert_eq!(first, Some(Blackout { first_return_at_ms: Some(9_000) }));
        assert_eq!(step(first, true, true, 11_999), first);
        assert_eq!(step(first, true, true, 12_000), None);
        assert_eq!(step(first, true, false, 9_100), None);
        assert_eq!(step(first, false, true, 9_100), dark);
        assert_eq!(step(None, true, true, 0), None);
    }
}
