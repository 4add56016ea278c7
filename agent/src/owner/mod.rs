//! The one task that owns the agent's state: what is assigned, what runs, who watches.
//!
//! Everything comes to it as an event, one at a time, and nothing else changes any of it. Absent from here: HTTP, and processes; what
//! one replica needs is decided by `cluster::supervise`, which assignment counts by `cluster::fence`.

mod adopt;
mod artifacts;
mod assign;
mod commands;
mod endpoints;
mod life;
mod logs;
mod request;
mod usage;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use cluster::ReplicaId;
use cluster::endpoints::Acknowledged;
use cluster::fence::Held;
use cluster::limits::missing;
use cluster::socket::Sockets;
use cluster::supervise::{Event, Exit};
use cluster::wire::{NodeFacts, ReplicaReport, Snapshot};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::artifact::{Fetches, Settings};
use crate::check::{Checks, Word};
use crate::clock::Clock;
use crate::goodbye::Goodbye;
use crate::guardian::keeper::{Happening, Keeper};
use crate::guardian::protocol::Message;
use crate::logs::LogDir;
use crate::metrics::Figures;
use crate::observe::{Observers, Standing};
use crate::os::{self, ManagerWord, Signal, Signals};
use crate::program::SearchPath;
use crate::runtime_dir::RuntimeDir;
use crate::slot::Slot;
use crate::uses::Uses;

use commands::Commands;
pub use request::{Busy, Door, Refused, Request};
use usage::UsageRound;
pub use watch::Watched;

/// A sign of life comes this often: more often than every 500 ms, so that one that is a little late is still in time.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(400);
/// Changes within this time of each other go out together.
const FLUSH_EVERY_MS: u64 = 2;
/// The most replicas that are seen to in one turn: everything else gets its turn as well.
const TURN_MAX: usize = 16;
/// The most words of replicas that wait.
const WORDS_MAX: usize = 64;
/// A watcher that was there so recently may come back: it was cut off, or its connection broke.
const OBSERVED_FOR_MS: u64 = 300;

/// Old output is removed this often, and soon after replicas are gone.
const CLEAN_EVERY_MS: u64 = 60_000;

/// At the end of the agent, for the files of replicas that are gone.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

/// What is left for others to end.
#[derive(Debug)]
pub struct Ended {
    /// The guardian.
    pub keeper: Keeper,
    /// The directory of pipes.
    pub runtime: RuntimeDir,
    /// The directory of output.
    pub logs: LogDir,
    /// The addresses of apps that are used.
    pub uses: Uses,
    /// Guardian and replicas are to outlive this agent.
    pub is_kept: bool,
}

/// The agent's state.
#[derive(Debug)]
pub struct Owner {
    clock: Clock,
    facts: NodeFacts,
    runtime: RuntimeDir,
    logs: LogDir,
    /// When old output is removed next, in monotonic milliseconds.
    clean_at_ms: u64,
    search: SearchPath,
    keeper: Keeper,
    held: Held,
    /// Until when a controller is known to hear this agent, in monotonic milliseconds.
    lease_until_ms: u64,
    /// When there was a watcher last, in monotonic milliseconds.
    observed_at_ms: Option<u64>,
    slots: BTreeMap<ReplicaId, Slot>,
    /// Which replica has which socket that is handed over.
    sockets: Sockets,
    /// Directories that are being removed, of replicas that are gone.
    removals: JoinSet<()>,
    probes: JoinSet<(ReplicaId, u32)>,
    checks: Checks,
    /// When the next check of each replica is due, in monotonic milliseconds.
    agenda: BTreeSet<(u64, ReplicaId)>,
    commands: Commands,
    fetches: Fetches,
    /// What replicas say of themselves: where it goes in, and comes out. Those who listen to them end with this.
    words: (mpsc::Sender<Word>, mpsc::Receiver<Word>),
    listeners: JoinSet<()>,
    /// Where this agent listens.
    api: SocketAddr,
    observers: Observers,
    uses: Uses,
    /// What the balancer works by may have changed since it was last said, which is this.
    routes_are_news: bool,
    routes_told: Option<Acknowledged>,
    /// Attempts that could not be made. They are told in a turn of their own: what follows may be another attempt, at once.
    failed: VecDeque<(ReplicaId, Event)>,
    /// Replicas of which something may have changed since it was last said.
    dirty: BTreeSet<ReplicaId>,
    /// The last words about replicas that are no longer here.
    gone: Vec<ReplicaReport>,
    flushed_at_ms: u64,
    goodbye: Option<Goodbye>,
    /// How children ended that are not the guardian's any more, by pid.
    reaped: BTreeMap<u32, Exit>,
    figures: Figures,
    usage: UsageRound,
}

impl Owner {
    /// An agent that runs nothing, and listens at `api`.
    pub fn new(facts: NodeFacts, api: SocketAddr, runtime: RuntimeDir, logs: LogDir, keeper: Keeper, artifacts: Settings) -> Self {
        Owner {
            clock: Clock::start(),
            observers: Observers::new(facts.instance),
            uses: Uses::new(runtime.uses()),
            routes_are_news: false,
            routes_told: None,
            facts,
            runtime,
            logs,
            clean_at_ms: CLEAN_EVERY_MS,
            search: SearchPath::of_this_process(),
            keeper,
            held: Held::default(),
            lease_until_ms: 0,
            observed_at_ms: None,
            slots: BTreeMap::new(),
            sockets: Sockets::default(),
            removals: JoinSet::new(),
            probes: JoinSet::new(),
            checks: Checks::new(),
            agenda: BTreeSet::new(),
            commands: Commands::default(),
            fetches: Fetches::new(artifacts),
            words: mpsc::channel(WORDS_MAX),
            listeners: JoinSet::new(),
            api,
            failed: VecDeque::new(),
            dirty: BTreeSet::new(),
            gone: Vec::new(),
            flushed_at_ms: 0,
            goodbye: None,
            reaped: BTreeMap::new(),
            figures: Figures::default(),
            usage: UsageRound::new(),
        }
    }

    /// Runs until the agent has said goodbye. What is left then is for the caller to end.
    pub async fn run(mut self, mut signals: Signals, mut requests: mpsc::Receiver<Request>) -> Ended {
        let mut heartbeat = interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.wake_at();
            // In no fixed order: whatever is always ready must not keep the others waiting.
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Terminate if self.keeper.keeps() && self.goodbye.is_none() => {
                        os::tell_manager(ManagerWord::Stopping);
                        tracing::info!(replicas = self.slots.len(), "letting go: guardian and replicas run on for the next agent");
                        return Ended { keeper: self.keeper, runtime: self.runtime, logs: self.logs, uses: self.uses, is_kept: true };
                    }
                    Signal::Goodbye | Signal::Terminate if self.goodbye.is_some() => {
                        tracing::warn!("asked to end a second time: ending at once");
                        break;
                    }
                    Signal::Goodbye | Signal::Terminate => self.say_goodbye(),
                    Signal::Child => self.reap(),
                },
                () = sleep_until(wake) => self.tick(),
                _ = heartbeat.tick() => {
                    let usage = self.new_usage();
                    self.observers.heartbeat(usage, self.standing());
                    self.tell_fetches();
                    self.clean();
                }
                happening = self.keeper.next() => self.happened(happening),
                Some(probed) = self.probes.join_next() => {
                    // One that was ended with its attempt says nothing.
                    if let Ok((id, attempt)) = probed {
                        self.feed(id, Event::Ready { attempt });
                    }
                }
                Some(finished) = self.fetches.next() => self.fetched(finished),
                Some(done) = self.checks.next() => self.checked(done),
                Some((id, attempt, push)) = self.words.1.recv() => self.heard(id, attempt, push),
                Some(_) = self.listeners.join_next() => {}
                () = self.uses.changed() => self.routes_are_news = true,
                Some(_) = self.removals.join_next() => {}
                Some(request) = requests.recv() => self.answer(request),
            }
            if self.flush() {
                // Watchers share this thread: let them take it.
                tokio::task::yield_now().await;
            }
            if self.goodbye_is_over() {
                break;
            }
        }
        self.flushed_at_ms = 0;
        self.flush();
        // What is not done by then is done with the whole runtime directory.
        let _ = timeout(REMOVAL_DEADLINE, async { while self.removals.join_next().await.is_some() {} }).await;
        Ended { keeper: self.keeper, runtime: self.runtime, logs: self.logs, uses: self.uses, is_kept: false }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Said(Message::Spawned { attempt, pid, tree, without, limits, port, unrecorded }) => {
                if let Some(slot) = self.slots.get_mut(&attempt.id).filter(|slot| slot.replica.attempt == attempt.attempt) {
                    slot.attempt.tree = Some(tree);
                    if let Some(port) = port {
                        slot.attempt.is_called_at(port);
                    }
                    if let Some(said) = missing(&limits) {
                        tracing::warn!(replica = %attempt.id, attempt = attempt.attempt, "{said}");
                    }
                    slot.attempt.limits = limits;
                }
                if let Some(why) = without {
                    tracing::warn!(replica = %attempt.id, attempt = attempt.attempt, "it has no cgroup of its own: {why}");
                }
                if let Some(why) = unrecorded {
                    tracing::warn!(replica = %attempt.id, attempt = attempt.attempt, "it ends with its guardian: {why}");
                }
                self.feed(attempt.id, Event::Spawned { attempt: attempt.attempt, pid });
            }
            Happening::Said(Message::SpawnFailed { attempt, error }) => {
                self.feed(attempt.id, Event::SpawnFailed { attempt: attempt.attempt, error });
            }
            Happening::Said(Message::Exited { attempt, exit, last_lines }) => {
                let exit = self.exit_of(attempt, exit);
                self.feed(attempt.id, Event::Exited { attempt: attempt.attempt, exit, last_lines });
            }
            Happening::Said(Message::TreeGone { attempt }) if self.keeper.keeps() && !self.slots.contains_key(&attempt.id) => {
                self.forget_stranger(attempt.id);
            }
            Happening::Said(Message::TreeGone { attempt }) => self.feed(attempt.id, Event::TreeGone { attempt: attempt.attempt }),
            Happening::Said(Message::Log { id, news }) => self.log_news(id, news),
            Happening::Said(Message::Checked { attempt, nth, end }) => self.command_ended(attempt, nth, end),
            Happening::Said(Message::Pong | Message::Inventory(_)) => {}
            Happening::Inventory(inventory) => self.compare(inventory),
            Happening::TreesGone => {
                self.commands = Commands::default();
                // One that waits for its artifact has no tree.
                let started = self.slots.iter().filter(|(_, slot)| slot.attempt.preparing.is_none());
                let attempts: Vec<(ReplicaId, u32)> = started.map(|(id, slot)| (*id, slot.replica.attempt)).collect();
                for (id, attempt) in attempts {
                    self.feed(id, Event::TreeGone { attempt });
                }
            }
        }
    }

    /// When something is due next.
    fn wake_at(&self) -> Instant {
        if !self.failed.is_empty() {
            return Instant::now();
        }
        let replicas = self.slots.values().filter_map(|slot| slot.replica.deadline_ms());
        let now_ms = self.clock.now().mono_ms;
        // What can end the wait of a goodbye; once it has passed, everything was told to stop.
        let unobserved = self.observed_at_ms.map_or(0, |at| at + OBSERVED_FOR_MS + 1);
        let goodbye = self.goodbye.iter().flat_map(|goodbye| [goodbye.stop_at_ms, self.lease_until_ms, unobserved]);
        let goodbye = goodbye.filter(|at| *at > now_ms);
        let flush = self.has_news().then(|| self.flushed_at_ms + FLUSH_EVERY_MS);
        self.clock.instant(
            replicas
                .chain(goodbye)
                .chain(flush)
                .chain([self.usage.due_ms])
                .chain(self.agenda.first().map(|(due_ms, _)| *due_ms))
                .min()
                .unwrap_or(u64::MAX),
        )
    }

    fn tick(&mut self) {
        let failed: Vec<(ReplicaId, Event)> = self.failed.drain(..self.failed.len().min(TURN_MAX)).collect();
        for (id, event) in failed {
            self.feed(id, event);
        }
        let now = self.clock.now();
        let is_due = |slot: &Slot| slot.replica.deadline_ms().is_some_and(|deadline| deadline <= now.mono_ms);
        let due: Vec<ReplicaId> = self.slots.iter().filter(|(_, slot)| is_due(slot)).map(|(id, _)| *id).take(TURN_MAX).collect();
        for id in due {
            self.feed(id, Event::Tick);
        }
        self.tick_checks(now.mono_ms);
        self.look_at_usage(now.mono_ms);
    }

    /// What stands in every line of observations.
    fn standing(&self) -> Standing {
        Standing { applied: self.held.stamp, cluster: self.cluster() }
    }

    /// The cluster that is listened to, while anything runs. For fencing it is remembered after that as well.
    fn cluster(&self) -> Option<cluster::ClusterId> {
        self.held.cluster.filter(|_| !self.slots.is_empty())
    }

    /// Something is to be said.
    fn has_news(&self) -> bool {
        !self.dirty.is_empty() || !self.gone.is_empty() || self.routes_are_news
    }

    fn snapshot(&mut self) -> Snapshot {
        let now = self.clock.now();
        let replicas = self.slots.iter().map(|(id, slot)| slot.report(*id, now)).collect();
        Snapshot { replicas, leaving: self.goodbye.is_some(), routes: self.uses.acknowledged() }
    }

    /// Says what changed, unless something was said just now. True when something was said.
    fn flush(&mut self) -> bool {
        let now = self.clock.now();
        if !self.has_news() || now.mono_ms < self.flushed_at_ms + FLUSH_EVERY_MS {
            return false;
        }
        self.flushed_at_ms = now.mono_ms;
        let mut reports = std::mem::take(&mut self.gone);
        for id in std::mem::take(&mut self.dirty) {
            reports.extend(self.slots.get_mut(&id).and_then(|slot| slot.news(id, now)));
        }
        if !reports.is_empty() {
            self.observers.changed(&reports, self.standing());
        }
        self.tell_routes();
        true
    }

    /// Whether a controller is there that could replace what stops here.
    fn is_heard(&mut self) -> bool {
        let now_ms = self.clock.now().mono_ms;
        if self.observers.count() > 0 {
            self.observed_at_ms = Some(now_ms);
        }
        let is_observed = self.observed_at_ms.is_some_and(|at| now_ms.saturating_sub(at) <= OBSERVED_FOR_MS);
        is_observed && now_ms < self.lease_until_ms
    }

    fn say_goodbye(&mut self) {
        os::tell_manager(ManagerWord::Stopping);
        let now = self.clock.now();
        let longest_ms = self.slots.values().map(|slot| slot.spec.drain_ms.saturating_add(slot.spec.grace_ms)).max().unwrap_or(0);
        let goodbye = Goodbye::begin(longest_ms, now);
        self.goodbye = Some(goodbye);
        tracing::info!(replicas = self.slots.len(), "leaving: replicas are replaced elsewhere, then stopped here");
        self.observers.leaving(goodbye.within_ms(now), self.standing());
    }

    /// Stops everything once it is time to. True when nothing is left, so that the agent can go.
    fn goodbye_is_over(&mut self) -> bool {
        let is_heard = self.is_heard();
        let Some(goodbye) = self.goodbye else { return false };
        if goodbye.is_over(is_heard, self.clock.now()) {
            self.stop_all();
        }
        self.slots.is_empty()
    }
}
