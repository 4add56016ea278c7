//! A node, as the control loop knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::endpoints::{Acknowledged, SentEndpoints};
use crate::health::unready_sentence;
use crate::id::ReplicaId;
use crate::label::{self, LABELS_MAX};
use crate::liveness::Contact;
use crate::member::Member;
use crate::now::Now;
use crate::settings::Settings;
use crate::usage::NodeUsage;
use crate::wire::{Assignment, NodeFacts, ObservedPhase, ReplicaReport, Stamp};

/// A node: a member, and what was heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What the store says of it.
    pub member: Member,
    /// What it said of itself when it was last dialled.
    pub facts: Option<NodeFacts>,
    /// Its labels in force: those of its agent, and before them those of the operator.
    pub labels: BTreeMap<String, String>,
    /// Whether it is there.
    pub contact: Contact,
    /// It has said what it runs since its stream was opened.
    pub reported: bool,
    /// It was a member when this controller started and has not reported since: what it runs is not known.
    pub awaited: bool,
    /// It said goodbye.
    pub leaving: bool,
    /// It listens to another cluster; a sentence.
    pub foreign: Option<String>,
    /// It listens to another cluster, of whatever we may do about that.
    pub obeys_other: bool,
    /// It is another member by another URL, or bears another's name; a sentence.
    pub duplicate: Option<String>,
    /// The agent's last refusal of an assignment; a sentence. Cleared by its next acceptance.
    pub refusal: Option<String>,
    /// Its former agent process ended and everything that it ran did too; cleared by the next decision.
    pub restarted: bool,
    /// What its former agent process ran, which outlives that; until its agent has said what it runs.
    pub unconfirmed: BTreeSet<ReplicaId>,
    /// What its former agent process ran and this one does not have any more; cleared by the next decision.
    pub vanished: BTreeSet<ReplicaId>,
    /// What it says that it runs.
    pub observed: BTreeMap<ReplicaId, Observed>,
    /// What it says of what is used there. For people only.
    pub usage: NodeUsage,
    /// The assignment that it obeys.
    pub applied: Option<Stamp>,
    /// Generations used so far in this epoch.
    pub generation: u64,
    /// The assignment that was sent last in this epoch.
    pub sent: Option<Sent>,
    /// What its balancer works by, as it said last.
    pub acknowledged: Option<Acknowledged>,
    /// Generations of endpoints used so far in this epoch.
    pub endpoints_generation: u64,
    /// The endpoints that were sent last, since it was dialled last.
    pub endpoints: Option<SentEndpoints>,
}

/// A report, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What the agent said.
    pub report: ReplicaReport,
    /// When, in monotonic milliseconds.
    pub at_ms: u64,
}

/// A process that accepts no connections after so long is worth a sentence, in milliseconds. It may go on trying for ever.
const SLOW_START_MS: u64 = 5_000;

impl Observed {
    /// It is the last that is said of a replica, and the agent does not have it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.report.phase == ObservedPhase::Stopped && !self.report.finished
    }

    /// How long its process has been running by now, in milliseconds. The agent's figure is not trusted to be small.
    #[must_use]
    pub fn age_ms(&self, now: Now) -> u64 {
        self.report.age_ms.saturating_add(now.since_ms(self.at_ms))
    }

    /// Why a process that is there gets no requests, once that is worth a sentence.
    #[must_use]
    pub fn why_unready(&self, now: Now) -> Option<String> {
        let report = &self.report;
        let is_late = report.phase == ObservedPhase::Running || self.age_ms(now) >= SLOW_START_MS;
        if report.ready || report.pid.is_none() || report.phase > ObservedPhase::Running || !is_late {
            return None;
        }
        unready_sentence(&report.checks, now.since_ms(self.at_ms)).or_else(|| self.slow_start(now))
    }

    /// What is to be said of a process that has not become ready for long.
    fn slow_start(&self, now: Now) -> Option<String> {
        let report = &self.report;
        let age_ms = self.age_ms(now);
        let port = report.port.filter(|_| report.phase == ObservedPhase::Starting && report.pid.is_some() && age_ms >= SLOW_START_MS)?;
        Some(format!("its process has run for {} s and accepts no connections on port {port} (PORT) yet", age_ms / 1000))
    }
}

/// An assignment that was handed to the shell.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// What.
    pub assignment: Assignment,
    /// When, in monotonic milliseconds.
    pub at_ms: u64,
}

/// How a node is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Not dialled yet, or no report yet.
    Connecting,
    /// Its lines arrive.
    Ready,
    /// Silent for a moment: last choice for requests, and gets nothing new.
    Suspect,
    /// Taken for dead: its replicas are replaced.
    Lost,
    /// On its way out: its replicas are replaced before they stop.
    Draining,
    /// Went after a goodbye.
    Left,
    /// Never answered.
    Unreachable,
    /// Listens to another cluster.
    Foreign,
    /// Another member by another URL.
    Duplicate,
}

impl NodeState {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Connecting => "connecting",
            NodeState::Ready => "ready",
            NodeState::Suspect => "suspect",
            NodeState::Lost => "lost",
            NodeState::Draining => "draining",
            NodeState::Left => "left",
            NodeState::Unreachable => "unreachable",
            NodeState::Foreign => "foreign",
            NodeState::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Memory that a replica is taken to need where its spec does not say, in bytes: what keeps a slip of the finger from asking a
/// million processes of one host.
pub const REPLICA_MEMORY_BYTES: u64 = 8 * 1024 * 1024;

impl Node {
    /// A member of which nothing was heard yet. `awaited`: it may run something already.
    #[must_use]
    pub fn new(member: Member, awaited: bool) -> Self {
        Node {
            labels: member.labels.clone(),
            member,
            facts: None,
            contact: Contact::New { error: None },
            reported: false,
            awaited,
            leaving: false,
            foreign: None,
            obeys_other: false,
            duplicate: None,
            refusal: None,
            restarted: false,
            unconfirmed: BTreeSet::new(),
            vanished: BTreeSet::new(),
            observed: BTreeMap::new(),
            usage: NodeUsage::default(),
            applied: None,
            generation: 0,
            sent: None,
            acknowledged: None,
            endpoints_generation: 0,
            endpoints: None,
        }
    }

    /// Looks anew at what is said of its host. What its agent says is outside input: what is no label is passed over.
    pub(crate) fn relabel(&mut self) {
        let said = self.facts.iter().flat_map(|facts| &facts.labels).filter(|(key, value)| label::is_key(key) && label::is_value(value));
        let said = said.take(LABELS_MAX).map(|(key, value)| (key.clone(), value.clone()));
        self.labels = said.chain(self.member.labels.clone()).collect();
    }

    /// How it is shown.
    #[must_use]
    pub fn state(&self, settings: &Settings, now: Now) -> NodeState {
        match &self.contact {
            Contact::New { error: None } => NodeState::Connecting,
            Contact::New { error: Some(_) } => NodeState::Unreachable,
            Contact::Lost { .. } => NodeState::Lost,
            Contact::Left => NodeState::Left,
            Contact::Up { .. } | Contact::Broken { .. } => {
                if self.duplicate.is_some() {
                    NodeState::Duplicate
                } else if self.foreign.is_some() {
                    NodeState::Foreign
                } else if self.is_silent(settings, now) && !self.is_just_gone(settings, now) {
                    NodeState::Suspect
                } else if self.is_going() {
                    NodeState::Draining
                } else if self.reported {
                    NodeState::Ready
                } else {
                    NodeState::Connecting
                }
            }
        }
    }

    /// A sentence that goes with the state; empty when there is nothing to say.
    #[must_use]
    pub fn detail(&self, settings: &Settings, now: Now) -> String {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        match (&self.contact, self.state(settings, now)) {
            (Contact::New { error: Some(error) }, _) => format!("{error}; dialled again every second"),
            (Contact::Lost { why, .. }, _) => match self.member.removed {
                true => format!("{why}; removed, and kept here until it can be told to stop what it may still run"),
                false => format!("{why}; dialled again every second"),
            },
            (Contact::Left, _) => "its agent said goodbye and ended".to_owned(),
            (_, NodeState::Duplicate) => self.duplicate.clone().unwrap_or_default(),
            (_, NodeState::Foreign) => self.foreign.clone().unwrap_or_default(),
            (Contact::Broken { error, .. }, NodeState::Suspect) => {
                format!("{error}; nothing heard for {}", seconds(self.contact.silent_ms(now).unwrap_or(0)))
            }
            (contact, NodeState::Suspect) => format!("nothing heard for {}", seconds(contact.silent_ms(now).unwrap_or(0))),
            (_, NodeState::Draining) if self.leaving => "its agent was asked to end; its replicas are being replaced".to_owned(),
            (_, NodeState::Draining) => "it was removed; its replicas are being replaced".to_owned(),
            _ => self.refusal.clone().unwrap_or_default(),
        }
    }

    /// What people call it: its agent's name, or its URL until that is known.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.facts {
            Some(facts) => facts.name.clone(),
            None => self.member.url.authority(),
        }
    }

    /// Its stream is broken, or nothing was heard for a while.
    #[must_use]
    pub fn is_silent(&self, settings: &Settings, now: Now) -> bool {
        matches!(self.contact, Contact::Broken { .. }) || self.contact.silent_ms(now).is_some_and(|ms| ms >= settings.suspect_ms())
    }

    /// It said goodbye and ended its stream a moment ago: the next dial tells.
    fn is_just_gone(&self, settings: &Settings, now: Now) -> bool {
        self.leaving && self.contact.silent_ms(now).is_some_and(|ms| ms < settings.suspect_ms())
    }

    /// It is on its way out, by its own word or the operator's.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.leaving || self.member.removed
    }

    /// It belongs to this cluster's work: what it reports counts, and it is sent assignments.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.duplicate.is_none() && self.foreign.is_none()
    }

    /// It was to be taken over, and obeys this cluster now.
    #[must_use]
    pub fn was_taken_over(&self) -> bool {
        let sent = self.sent.as_ref().map(|sent| sent.assignment.stamp);
        self.member.take_over && self.reported && !self.obeys_other && sent.is_some() && self.applied == sent
    }

    /// What ran there is gone, or taken for gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.contact, Contact::Lost { .. } | Contact::Left)
    }

    /// It is heard, and has said what it runs.
    #[must_use]
    pub fn is_live(&self, settings: &Settings, now: Now) -> bool {
        matches!(self.contact, Contact::Up { .. }) && self.reported && self.is_ours() && !self.is_silent(settings, now)
    }

    /// New replicas may be placed there.
    #[must_use]
    pub fn is_eligible(&self, settings: &Settings, now: Now) -> bool {
        self.is_live(settings, now) && !self.is_going() && self.refusal.is_none()
    }

    /// The most replicas that it takes, by its memory.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        match self.facts.as_ref().map_or(0, |facts| facts.memory_bytes) {
            0 => u64::from(crate::app::COUNT_MAX),
            bytes => (bytes / REPLICA_MEMORY_BYTES).max(16),
        }
    }
}
