//! The agent's side of its guardian: what is said to it, what it says, and that there is always one.
//!
//! When a guardian ends, whatever its replicas had started is now a child of the agent. All of it is ended first; only then comes
//! the next guardian, so that nothing ever runs twice.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use cluster::restart::RestartPolicy;
use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::protocol::{Attempt, Cgroup, Command, LINE_BYTES_MAX, Message, encode};
use crate::os::{self, GuardianProcess, GuardianSocket, Trees};

const PING_EVERY: Duration = Duration::from_secs(1);
/// A guardian that has not answered for so long hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
/// A tick that is late by more means that the agent itself was asleep: then silence says nothing about the guardian.
const LATE: Duration = Duration::from_millis(500);
/// How soon orphans that got SIGKILL are looked at again.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(100);
/// A process that does not die for so long is worth a line in the log.
const STUCK: Duration = Duration::from_secs(5);
/// For a guardian to end everything when its agent says goodbye.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// What comes from a guardian.
#[derive(Debug)]
pub enum Happening {
    /// It said something.
    Said(Message),
    /// It ended, and so did every process of every replica. What is sent from now on goes to the next one.
    TreesGone,
}

/// Keeps a guardian.
#[derive(Debug)]
pub struct Keeper {
    mark: String,
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

#[derive(Debug)]
struct Line {
    process: GuardianProcess,
    reader: FramedRead<ReadHalf<GuardianSocket>, LinesCodec>,
    writer: WriteHalf<GuardianSocket>,
    started: Instant,
    ping_at: Instant,
    /// Since when an answer is waited for.
    unanswered: Option<Instant>,
}

impl Line {
    fn start(mark: &str, trees: Option<&Trees>) -> io::Result<Self> {
        let (process, socket) = os::start_guardian(mark, &trees.map(Trees::all).unwrap_or_default())?;
        let (reader, writer) = tokio::io::split(socket);
        let now = Instant::now();
        tracing::debug!(pid = process.pid(), "started the guardian");
        Ok(Line {
            process,
            reader: FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_BYTES_MAX)),
            writer,
            started: now,
            ping_at: now + PING_EVERY,
            unanswered: None,
        })
    }
}

enum Turn {
    Heard(Message),
    Wrote(usize),
    PingTime,
    Ended(String),
}

impl Keeper {
    /// Starts the first guardian.
    pub fn start(mark: &str, trees: Option<Trees>) -> io::Result<Self> {
        let line = Line::start(mark, trees.as_ref()).inspect_err(|_| trees.iter().for_each(Trees::remove))?;
        Ok(Keeper { mark: mark.to_owned(), trees, state: State::Up(line), outbox: VecDeque::new(), failures: 0, ended: 0 })
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
                State::Up(line) => match turn(line, &self.outbox).await {
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
                    match Line::start(&self.mark, self.trees.as_ref()) {
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
        tracing::error!(pid = line.process.pid(), "the guardian ended ({why}); its replicas end with it and are started again");
        // It may have closed its socket and live on.
        line.process.kill();
        self.ended += 1;
        let now = Instant::now();
        self.state = State::Clearing { since: now, warned: false, look_again: LOOK_AGAIN_MIN, lived: now - line.started };
    }

    fn wait_for_next(&mut self, lived: Duration) {
        let policy = RestartPolicy::default();
        if lived >= Duration::from_millis(policy.reset_after_ms) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: Instant::now() + Duration::from_millis(policy.wait_ms(self.failures)) };
    }

    /// Lets the guardian go: it ends whatever still runs, and itself. Afterwards no child of this process is left.
    pub async fn end(self) {
        if let State::Up(line) = self.state {
            let Line { process, mut reader, mut writer, .. } = line;
            // Both halves must go for the socket to close; a closed write side is what the guardian sees.
            let goodbye = async {
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

/// One turn with a guardian that is up. Reading comes first: a message that is there already is heard before silence is judged.
async fn turn(line: &mut Line, outbox: &VecDeque<u8>) -> Turn {
    let chunk = outbox.as_slices().0;
    tokio::select! {
        biased;
        read = line.reader.next() => match read {
            Some(Ok(text)) => match serde_json::from_str(&text) {
                Ok(message) => Turn::Heard(message),
                Err(e) => Turn::Ended(format!("it said what is no message: {e}")),
            },
            Some(Err(e)) => Turn::Ended(e.to_string()),
            None => Turn::Ended("its socket closed".to_owned()),
        },
        written = line.writer.write(chunk), if !chunk.is_empty() => match written {
            Ok(bytes) => Turn::Wrote(bytes),
            Err(e) => Turn::Ended(e.to_string()),
        },
        () = sleep_until(line.ping_at) => Turn::PingTime,
    }
}
