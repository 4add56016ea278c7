//! The agent's end of the line to a guardian that is up, and the first words on it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::hello::{Answer, Hello, PROTOCOL};
use super::protocol::{LINE_BYTES_MAX, Message, encode};
use crate::os::{self, GuardianProcess, GuardianSocket};

/// How often a guardian is asked whether it lives.
pub const PING_EVERY: Duration = Duration::from_secs(1);

/// The line to a guardian.
#[derive(Debug)]
pub struct Line {
    /// Its process.
    pub process: GuardianProcess,
    pub(super) reader: FramedRead<ReadHalf<GuardianSocket>, LinesCodec>,
    pub(super) writer: WriteHalf<GuardianSocket>,
    /// When this line was opened.
    pub started: Instant,
    /// When to ask next whether it lives.
    pub ping_at: Instant,
    /// Since when an answer is waited for.
    pub unanswered: Option<Instant>,
    /// The first words are not over yet: nothing else is said.
    greeting: Option<Greeting>,
}

#[derive(Debug, Default)]
struct Greeting {
    /// Words of this side that are not written yet.
    words: VecDeque<u8>,
    /// It was told to become this agent's program.
    is_told: bool,
    /// It was told to begin.
    is_begun: bool,
}

/// What a turn with a guardian brought.
pub enum Turn {
    /// It said this.
    Heard(Message),
    /// So many bytes of the outbox were written.
    Wrote(usize),
    /// Something of the first words went one way or the other.
    Greeted,
    /// It is time to ask whether it lives.
    PingTime,
    /// It is gone; a sentence why.
    Ended(String),
}

impl Line {
    /// A line that has just been opened. `keeps`: first words come before anything else.
    pub fn new(process: GuardianProcess, socket: GuardianSocket, keeps: bool) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        let now = Instant::now();
        Line {
            process,
            reader: FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_BYTES_MAX)),
            writer,
            started: now,
            ping_at: now + PING_EVERY,
            unanswered: keeps.then_some(now),
            greeting: keeps.then(Greeting::default),
        }
    }

    /// The first words are not over.
    pub fn is_greeting(&self) -> bool {
        self.greeting.is_some()
    }

    /// One turn. Reading comes first: a message that is there already is heard before silence is judged.
    pub async fn turn(&mut self, outbox: &VecDeque<u8>) -> Turn {
        let chunk = match &self.greeting {
            Some(greeting) => greeting.words.as_slices().0,
            None => outbox.as_slices().0,
        };
        tokio::select! {
            biased;
            read = self.reader.next() => match read {
                Some(Ok(text)) => self.take(&text),
                Some(Err(e)) => Turn::Ended(e.to_string()),
                None => Turn::Ended("its socket closed".to_owned()),
            },
            written = self.writer.write(chunk), if !chunk.is_empty() => match (written, &mut self.greeting) {
                (Ok(bytes), Some(greeting)) => {
                    greeting.words.drain(..bytes);
                    Turn::Greeted
                }
                (Ok(bytes), None) => Turn::Wrote(bytes),
                (Err(e), _) => Turn::Ended(e.to_string()),
            },
            () = sleep_until(self.ping_at) => Turn::PingTime,
        }
    }

    fn take(&mut self, text: &str) -> Turn {
        let no_message = |e: serde_json::Error| Turn::Ended(format!("it said what is no message: {e}"));
        match &mut self.greeting {
            Some(greeting) if !greeting.is_begun => match serde_json::from_str(text) {
                Ok(hello) => {
                    self.unanswered = Some(Instant::now());
                    match greeting.answer(&hello) {
                        Ok(()) => Turn::Greeted,
                        Err(why) => Turn::Ended(why),
                    }
                }
                Err(e) => no_message(e),
            },
            _ => match serde_json::from_str(text) {
                Ok(message) => {
                    if matches!(message, Message::Inventory(_)) {
                        self.greeting = None;
                        self.unanswered = None;
                    }
                    Turn::Heard(message)
                }
                Err(e) => no_message(e),
            },
        }
    }
}

impl Greeting {
    fn answer(&mut self, hello: &Hello) -> Result<(), String> {
        let program = os::this_program().map_err(|e| format!("this agent cannot tell which program it is: {e}"))?;
        let answer = if hello.program == program {
            Answer::Begin {}
        } else if !self.is_told {
            self.is_told = true;
            let (path, name) = os::own_program();
            tracing::info!(from = %hello.version, "the guardian becomes this agent's program");
            Answer::Exec { program: reachable(path), name: name.to_string_lossy().into_owned() }
        } else {
            let why = hello.refused.as_deref().unwrap_or("it runs another one");
            if hello.protocol != PROTOCOL {
                return Err(format!("it is of version {} and does not become this agent's program: {why}", hello.version));
            }
            tracing::warn!("the guardian goes on as version {}, since it does not become this agent's program: {why}", hello.version);
            Answer::Begin {}
        };
        self.is_begun = matches!(answer, Answer::Begin {});
        self.words.extend(encode(&answer).map_err(|e| format!("it cannot be answered: {e}"))?);
        Ok(())
    }
}

/// A path that means the same to another process.
fn reachable(path: PathBuf) -> PathBuf {
    if path == Path::new("/proc/self/exe") { PathBuf::from(format!("/proc/{}/exe", std::process::id())) } else { path }
}

/// Opens a line to the guardian of a runtime directory that keeps replicas: the one that waits there, or a new one.
pub fn open_kept(runtime: &Path, mark: &str, cgroups: &[super::protocol::Cgroup]) -> io::Result<Line> {
    let (process, socket) = match os::find_guardian(runtime, mark)? {
        Some(found) => {
            tracing::info!(pid = found.0.pid(), "found the guardian of the agent before this one");
            found
        }
        None => os::start_keeping_guardian(runtime, mark, cgroups)?,
    };
    Ok(Line::new(process, socket, true))
}
