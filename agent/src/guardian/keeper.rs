//! The agent's side of its guardian: what is said to it, what it says, and that there is always one.
//!
//! When a guardian ends, whatever its replicas had started is now a child of the agent. All of it is ended first; only then comes
//! the next guardian, so that nothing ever runs twice.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::restart::RestartPolicy;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::hello::Answer;
use super::line::{Line, PING_EVERY, Turn, open_kept};
use super::protocol::{Attempt, Cgroup, Command, Holding, Message, encode};
use crate::os::{self, Trees};

/// A guardian that has not answered for so long hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
/// A tick that is late by more means that the agent itself was asleep: then silence says nothing about the guardian.
const LATE: Duration = Duration::from_millis(500);
/// How soon orphans that got SIGKILL are looked at again.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);
/// A process that does not die for so long is worth a line in the log.
const STUCK: Duration = Duration::from_secs(5);
/// For a guardian that keeps replicas to say what it has, or for one after another that is started in its place.
const INVENTORY_DEADLINE: Duration = Duration::from_secs(15);
/// For a guardian to end everything when its agent says goodbye.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// What comes from a guardian.
#[derive(Debug)]
pub enum Happening {
    /// It said something.
    Said(Message),
    /// It ended, and so did every process of every replica. What is sent from now on goes to the next one.
    TreesGone,
    /// Another guardian is there, and this is what it has: what was sent before was not heard, what is sent from now on goes to it.
    Inventory(Vec<Holding>),
}

/// No guardian said in time what it has.
#[derive(Debug, thiserror::Error)]
#[error(
    "the guardian that keeps the replicas of {0} does not say what it has; end it, or start this agent without --keep-workers, which ends them all"
)]
pub struct NoInventory(String);

/// Keeps a guardian.
#[derive(Debug)]
pub struct Keeper {
    mark: String,
    /// Its guardians outlive it, and wait in this runtime directory.
    keep_in: Option<PathBuf>,
    /// The agent's cgroup, where it has one.
    trees: Option<Trees>,
    state: State,
    /// What it has not taken yet: at most three commands for each attempt of a replica, and a few checks.
    outbox: VecDeque<u8>,
    /// Ended soon after their start, in a row.
    failures: u32,
    /// Guardians that ended by themselves.
    pub ended: u64,
}

#[derive(Debug)]
enum State {
    Up(Line),
    /// It ended; what it leaves is being ended.
    Clearing {
        since: Instant,
        warned: bool,
        look_again: Duration,
        lived: Duration,
    },
    /// The next one is started then.
    Waiting {
        until: Instant,
    },
}

impl Keeper {
    /// Starts the first guardian.
    pub fn start(mark: &str, trees: Option<Trees>) -> io::Result<Self> {
        let line = open(mark, trees.as_ref(), None).inspect_err(|_| trees.iter().for_each(Trees::remove))?;
        Ok(Keeper::with(mark, None, trees, line))
    }

    /// Takes the guardian that waits in this runtime directory with what it keeps, or starts one that will.
    pub fn keep(mark: &str, runtime: &Path, trees: Option<Trees>) -> io::Result<Self> {
        let line = open(mark, trees.as_ref(), Some(runtime))?;
        Ok(Keeper::with(mark, Some(runtime.to_owned()), trees, line))
    }

    fn with(mark: &str, keep_in: Option<PathBuf>, trees: Option<Trees>, line: Line) -> Self {
        Keeper { mark: mark.to_owned(), keep_in, trees, state: State::Up(line), outbox: VecDeque::new(), failures: 0, ended: 0 }
    }

    /// What the guardian has: the first that one says that keeps replicas.
    ///
    /// # Errors
    /// It did not say so in time, and neither did another one that was started in its place.
    pub async fn inventory(&mut self) -> Result<Vec<Holding>, NoInventory> {
        let said = async {
            loop {
                if let Happening::Inventory(inventory) = self.next().await {
                    return inventory;
                }
            }
        };
        timeout(INVENTORY_DEADLINE, said).await.map_err(|_| NoInventory(self.mark.clone()))
    }

    /// Guardian and replicas outlive this agent.
    pub fn keeps(&self) -> bool {
        self.keep_in.is_some()
    }

    /// The guardian's pid, while there is one.
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Up(line) => Some(line.process.pid()),
            _ => None,
        }
    }

    /// The cgroup that an attempt is to have.
    pub fn cgroup(&self, attempt: Attempt) -> Option<Cgroup> {
        self.trees.as_ref().map(|trees| trees.of(attempt))
    }

    /// The cgroups of version 1 that an attempt with limits is to have as well.
    pub fn limiters(&self, attempt: Attempt) -> Vec<Cgroup> {
        self.trees.iter().flat_map(|trees| trees.limiters(attempt)).collect()
    }

    /// Says something to the guardian. It is written by [`Keeper::next`].
    pub fn send(&mut self, command: &Command) {
        match encode(command) {
            Ok(line) => self.outbox.extend(line),
            // Paths were checked for it at the start.
            Err(e) => tracing::error!("a command to the guardian cannot be written: {e}"),
        }
    }

    /// What comes next; it also writes what was sent, and keeps a guardian alive. May be dropped and called again.
    pub async fn next(&mut self) -> Happening {
        loop {
            match &mut self.state {
                State::Up(line) => match line.turn(&self.outbox).await {
                    Turn::Heard(Message::Inventory(inventory)) => {
                        // What was meant for the one before it was about what that had.
                        self.outbox.clear();
                        return Happening::Inventory(inventory);
                    }
                    Turn::Greeted => {}
                    Turn::Heard(Message::Pong) => line.unanswered = None,
                    Turn::Heard(message) => {
                        // One that has much to do answers later; that it says what it does is an answer as well.
                        if let Some(since) = &mut line.unanswered {
                            *since = Instant::now();
                        }
                        return Happening::Said(message);
                    }
                    Turn::Wrote(bytes) => {
                        self.outbox.drain(..bytes);
                    }
                    Turn::PingTime => self.ping(),
                    Turn::Ended(why) => self.fell(&why),
                },
                State::Clearing { since, warned, look_again, lived } => {
                    if end_trees(self.trees.as_ref()) {
                        let lived = *lived;
                        self.wait_for_next(lived);
                        // What was sent to the one that ended means nothing to the next.
                        self.outbox.clear();
                        return Happening::TreesGone;
                    }
                    if since.elapsed() > STUCK && !*warned {
                        *warned = true;
                        tracing::error!("processes of replicas do not end although they got SIGKILL; nothing is started until they do");
                    }
                    let pause = *look_again;
                    *look_again = (pause * 2).min(LOOK_AGAIN_MAX);
                    sleep(pause).await;
                }
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    match open(&self.mark, self.trees.as_ref(), self.keep_in.as_deref()) {
                        Ok(line) => self.state = State::Up(line),
                        Err(e) => {
                            tracing::error!("cannot start the guardian: {e}");
                            self.wait_for_next(Duration::ZERO);
                        }
                    }
                }
            }
        }
    }

    fn ping(&mut self) {
        let State::Up(line) = &mut self.state else { return };
        let now = Instant::now();
        let was_asleep = now.saturating_duration_since(line.ping_at) > LATE;
        match line.unanswered {
            Some(_) if was_asleep => line.unanswered = Some(now),
            Some(since) if now - since >= ANSWER_DEADLINE => {
                tracing::error!(pid = line.process.pid(), "the guardian does not answer; ending it");
                // Its socket closes with it, and that is what is waited for.
                line.process.kill();
            }
            Some(_) => {}
            None if line.is_greeting() => {}
            None => {
                line.unanswered = Some(now);
                line.ping_at = now + PING_EVERY;
                self.send(&Command::Ping);
                return;
            }
        }
        line.ping_at = now + PING_EVERY;
    }

    fn fell(&mut self, why: &str) {
        let State::Up(line) = &self.state else { return };
        let keeps = self.keeps();
        let what_follows = if keeps { "the next one takes its replicas over" } else { "its replicas end with it and are started again" };
        tracing::error!(pid = line.process.pid(), "the guardian ended ({why}); {what_follows}");
        // It may have closed its socket and live on.
        line.process.kill();
        self.ended += 1;
        let now = Instant::now();
        let lived = now - line.started;
        if keeps {
            self.wait_for_next(lived);
        } else {
            self.state = State::Clearing { since: now, warned: false, look_again: LOOK_AGAIN_MIN, lived };
        }
    }

    fn wait_for_next(&mut self, lived: Duration) {
        let policy = RestartPolicy::default();
        if lived >= Duration::from_millis(policy.reset_after_ms) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: Instant::now() + Duration::from_millis(policy.wait_ms(self.failures)) };
    }

    /// Ends the guardian, which ends whatever still runs. Afterwards no child of this process is left.
    pub async fn end(self) {
        // One that would outlive this agent must be told, and one that is not there cannot be: then another one finds what it left.
        let mut words: Vec<u8> = self.outbox.iter().copied().collect();
        if self.keeps() {
            words.extend(encode(&Command::End).unwrap_or_default());
        }
        if let State::Up(line) = self.state {
            if line.is_greeting() {
                words = encode(&Answer::End {}).unwrap_or_default();
            }
            let Line { process, mut reader, mut writer, .. } = line;
            // Both halves must go for the socket to close; a closed write side is what the guardian sees.
            let goodbye = async {
                let _ = writer.write_all(&words).await;
                let _ = writer.shutdown().await;
                while let Some(Ok(_)) = reader.next().await {}
            };
            if timeout(END_DEADLINE, goodbye).await.is_err() {
                tracing::error!(pid = process.pid(), "the guardian does not end; ending it");
            }
            process.kill();
        }
        let cleared = async {
            let mut pause = LOOK_AGAIN_MIN;
            while !end_trees(self.trees.as_ref()) {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_AGAIN_MAX);
            }
        };
        if timeout(END_DEADLINE, cleared).await.is_err() {
            tracing::error!("processes of replicas do not end although they got SIGKILL");
        }
        self.trees.iter().for_each(Trees::remove);
    }
}

/// Ends what a guardian that is gone left: what is in the cgroups of its replicas, and what has become a child of this process. True
/// when nothing is left.
fn end_trees(trees: Option<&Trees>) -> bool {
    let is_over = trees.is_none_or(Trees::end);
    os::end_children() && is_over
}

/// Opens a line to a guardian: to a new one, or with `keep_in` to the one that may wait there.
fn open(mark: &str, trees: Option<&Trees>, keep_in: Option<&Path>) -> io::Result<Line> {
    let cgroups = trees.map(Trees::all).unwrap_or_default();
    if let Some(runtime) = keep_in {
        return open_kept(runtime, mark, &cgroups);
    }
    let (process, socket) = os::start_guardian(mark, &cgroups)?;
    tracing::debug!(pid = process.pid(), "started the guardian");
    Ok(Line::new(process, socket, false))
}
