//! One replica on this agent: its state machine, and what belongs to its present attempt.

use std::sync::Arc;

use cluster::app::{AppName, AppSpec};
use cluster::health::{CheckReport, unready_sentence};
use cluster::limits::Enforcement;
use cluster::supervise::{Kept, Readiness, Replica, State};
use cluster::tree::Tree;
use cluster::wire::{AssignedReplica, ReplicaReport};
use cluster::{Now, ReplicaId};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::artifact::Lease;
use crate::check::Voice;
use crate::guardian::protocol::Spawn;
use crate::owner::Watched;
use crate::port::Reservation;
use crate::usage::Metered;

/// One replica.
#[derive(Debug)]
pub struct Slot {
    /// Its app.
    pub app: AppName,
    /// Of which revision.
    pub revision: u64,
    /// How it is run.
    pub spec: Arc<AppSpec>,
    /// Where it is in its life.
    pub replica: Replica,
    /// What its present attempt has.
    pub attempt: Attempt,
    /// Its log.
    pub log: SlotLog,
    /// What was written down of it last, where anything is: its life, and its port.
    pub written: Option<(Kept, Option<u16>)>,
    /// What was said of it last, its age aside.
    pub reported: Option<ReplicaReport>,
}

/// What is known of a replica's log.
#[derive(Debug, Default)]
pub struct SlotLog {
    /// Bytes of output that could not be kept.
    pub dropped_bytes: u64,
    /// Why output cannot be kept now.
    pub trouble: Option<String>,
    /// Cancelled when the replica is gone: nothing will be added.
    pub gone: CancellationToken,
}

/// What belongs to one attempt, and goes with it.
#[derive(Debug, Default)]
pub struct Attempt {
    /// Its port.
    pub port: Option<u16>,
    /// Keeps the port, unless this attempt is made without.
    pub _reservation: Option<Reservation>,
    /// Its first process, while that is there.
    pub pid: Option<u32>,
    /// What its processes are known by, from then on.
    pub tree: Option<Tree>,
    /// What came of its limits, from then on.
    pub limits: Enforcement,
    /// When that was started, in monotonic milliseconds.
    pub started_at_ms: u64,
    /// How old it was when this agent took it over, in milliseconds.
    pub age_before_ms: u64,
    /// Waits for it to be ready.
    pub probe: Option<Probe>,
    /// Its checks.
    pub watched: Option<Watched>,
    /// How it may speak up.
    pub voice: Option<Voice>,
    /// Keeps its artifact, if it has one.
    pub lease: Option<Arc<Lease>>,
    /// What is done for it before it is started.
    pub preparing: Option<String>,
    /// How it was started, where a check is started the same way.
    pub spawn: Option<Box<Spawn>>,
    /// What its processes use, once that was looked at.
    pub usage: Option<Metered>,
}

impl Attempt {
    /// Its socket was opened for it, at this port.
    pub fn is_called_at(&mut self, port: u16) {
        self.port = Some(port);
        if let Some(spawn) = &mut self.spawn {
            spawn.env.insert("PORT".to_owned(), port.to_string());
        }
    }
}

/// A task that asks something of an attempt, ended with what holds it.
#[derive(Debug)]
pub struct Probe(pub AbortHandle);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Slot {
    /// A replica that was just assigned.
    pub fn new(assigned: &AssignedReplica, spec: Arc<AppSpec>, replica: Replica) -> Self {
        Slot::of(assigned.app.clone(), assigned.revision, spec, replica)
    }

    /// A replica of this app.
    pub fn of(app: AppName, revision: u64, spec: Arc<AppSpec>, replica: Replica) -> Self {
        Slot { app, revision, spec, replica, attempt: Attempt::default(), log: SlotLog::default(), written: None, reported: None }
    }

    /// What is said of it now.
    pub fn report(&self, id: ReplicaId, now: Now) -> ReplicaReport {
        let pid = self.attempt.pid;
        let checks = self.attempt.watched.as_ref().map(|watched| watched.health.reports(now)).unwrap_or_default();
        let is_steady = match self.replica.state {
            State::Running { ready: Readiness::Ready { since_ms }, .. } => {
                now.since_ms(since_ms) >= self.replica.rules.restart.reset_after_ms
            }
            _ => false,
        };
        ReplicaReport {
            id,
            app: self.app.clone(),
            revision: self.revision,
            attempt: self.replica.attempt,
            phase: self.replica.phase(),
            ready: self.replica.is_ready(),
            pid,
            port: pid.and(self.attempt.port),
            tree: pid.and(self.attempt.tree),
            limits: if pid.is_some() { self.attempt.limits.clone() } else { Enforcement::new() },
            age_ms: if pid.is_some() { now.since_ms(self.attempt.started_at_ms).saturating_add(self.attempt.age_before_ms) } else { 0 },
            restarts: self.replica.attempt.saturating_sub(1),
            failures: if is_steady { 0 } else { self.replica.failures },
            detail: self.detail(&checks),
            log_dropped_bytes: self.log.dropped_bytes,
            finished: self.replica.is_finished(),
            checks,
        }
    }

    /// What is to be said of it in words: what it waits for, what it fails, else what its log does.
    fn detail(&self, checks: &[CheckReport]) -> String {
        let is_unready = matches!(self.replica.state, State::Running { ready: Readiness::Unready, .. });
        let of_checks = if is_unready { unready_sentence(checks, 0) } else { None };
        let of_life = Some(self.replica.detail()).filter(|detail| !detail.is_empty());
        let of_log = || self.log.trouble.as_ref().map(|why| format!("its output is not kept: {why}"));
        self.attempt.preparing.clone().or(of_checks).or(of_life).or_else(of_log).unwrap_or_default()
    }

    /// The report, if it says anything that the last one did not.
    pub fn news(&mut self, id: ReplicaId, now: Now) -> Option<ReplicaReport> {
        let report = self.report(id, now);
        let mut ageless = ReplicaReport { age_ms: 0, ..report.clone() };
        if !ageless.checks.is_empty() {
            // The sentence about them has an age in it as well.
            ageless.checks.iter_mut().for_each(|check| check.age_ms = 0);
            ageless.detail = self.detail(&[]);
        }
        if self.reported.as_ref() == Some(&ageless) {
            return None;
        }
        self.reported = Some(ageless);
        Some(report)
    }
}
