//! What agent and guardian say to each other: a JSON object a line, both ways.
//!
//! Both ends are the same program file, so there is one version of this: a guardian that outlives its agent becomes the next one's program
//! first (`hello`). The number of messages under way is bounded by itself: the
//! guardian speaks only of attempts that the agent asked for, three times of each at most, once of each check, and of a log once a second, if
//! the agent reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cluster::ReplicaId;
use cluster::limits::{Enforcement, Limits};
use cluster::logs::LogSpec;
use cluster::run_as::{RunAs, Sandbox};
use cluster::supervise::Exit;
use cluster::tree::Tree;
use serde::{Deserialize, Serialize};

/// The longest line: a command with its whole environment, which [`crate::program`] bounds; JSON may write a byte as six.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Start the process of an attempt.
    Spawn(Box<Spawn>),
    /// SIGTERM to the attempt's process group.
    Terminate(Attempt),
    /// SIGKILL to every process of the attempt.
    Kill(Attempt),
    /// No other attempt will follow: close its pipes.
    Forget {
        /// Whose.
        id: ReplicaId,
    },
    /// Carry out a check that is a command.
    Check(Box<Check>),
    /// Say [`Message::Pong`].
    Ping,
    /// End every replica, and yourself: for a guardian that would outlive its agent.
    End,
}

/// A check that is a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The command, in the surroundings of its replica.
    pub spawn: Spawn,
    /// Its place in the spec.
    pub nth: usize,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// How a check went; words follow "it".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckEnd {
    /// Well.
    Passed,
    /// Its command failed.
    Failed(String),
    /// It took too long, and was ended.
    TooLate,
    /// Its command could not be started.
    NotStarted(String),
}

/// One start of a replica's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Which attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// The file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The directory of its artifact, if it has one: it starts there unless its spec says otherwise.
    pub artifact: Option<PathBuf>,
    /// A file to hold locked, with others, while any of its processes is there: they use what it stands for.
    pub lease: Option<PathBuf>,
    /// Where its pipes lie.
    pub directory: PathBuf,
    /// The cgroup to make for it, where the agent has one.
    pub cgroup: Option<Cgroup>,
    /// Those of version 1 hierarchies that are to be made for its limits.
    pub limiters: Vec<Cgroup>,
    /// What it may use.
    pub limits: Limits,
    /// Do not start it if one of them cannot be enforced.
    pub strict_limits: bool,
    /// Where its log is kept.
    pub log: PathBuf,
    /// How much of it.
    pub log_spec: LogSpec,
    /// As whom and where it runs.
    #[serde(default)]
    pub run_as: RunAs,
    /// The files that it may use; all that its user may, unless said.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// The temporary directory to make for it.
    #[serde(default)]
    pub private_tmp: Option<PathBuf>,
    /// The socket to hand over to it.
    #[serde(default)]
    pub socket: Option<HandedOver>,
}

/// A listening socket that the guardian opens, and keeps while a replica has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Its name: the replica that it was opened for.
    pub socket: ReplicaId,
    /// What the process that gets it knows it as (`LISTEN_FDNAMES`).
    pub name: String,
}

/// A cgroup: the directory, and how `/proc/PID/cgroup` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its directory.
    pub directory: PathBuf,
    /// The hierarchy: empty for version 2, else controllers with commas between, or `name=...`.
    pub hierarchy: String,
    /// Its path in the hierarchy.
    pub path: String,
}

/// Which attempt of which replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The replica.
    pub id: ReplicaId,
    /// Counts the starts of its process, from 1.
    pub attempt: u32,
}

/// From the guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The attempt's process was started.
    Spawned {
        /// Which.
        #[serde(flatten)]
        attempt: Attempt,
        /// Its process.
        pid: u32,
        /// What its processes are known by.
        tree: Tree,
        /// Why not by the cgroup that was asked for.
        without: Option<String>,
        /// What came of its limits, and of its sandbox.
        limits: Enforcement,
        /// The port of the socket that it was handed.
        #[serde(default)]
        port: Option<u16>,
        /// Why it is not on record, where it should be: no other guardian could adopt it.
        unrecorded: Option<String>,
    },
    /// The attempt's process could not be started.
    SpawnFailed {
        /// Which.
        #[serde(flatten)]
        attempt: Attempt,
        /// A sentence.
        error: String,
    },
    /// The attempt's first process ended.
    Exited {
        /// Which.
        #[serde(flatten)]
        attempt: Attempt,
        /// How.
        exit: Exit,
        /// The last lines that it wrote, the oldest first.
        last_lines: Vec<String>,
    },
    /// No process of the attempt is left.
    TreeGone {
        /// Which.
        #[serde(flatten)]
        attempt: Attempt,
    },
    /// Something about the log of a replica.
    Log {
        /// Whose.
        id: ReplicaId,
        /// What.
        news: LogNews,
    },
    /// A check was carried out.
    Checked {
        /// Of which attempt.
        #[serde(flatten)]
        attempt: Attempt,
        /// Its place in the spec.
        nth: usize,
        /// How it went.
        end: CheckEnd,
    },
    /// The answer to a ping.
    Pong,
    /// All that a guardian has that keeps replicas: the first that it says to an agent.
    Inventory(Vec<Holding>),
}

/// What a guardian has of the present attempt of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Which.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Its first process, which may have ended.
    pub pid: u32,
    /// What its processes are known by.
    pub tree: Tree,
    /// What came of its limits.
    pub limits: Enforcement,
    /// How long ago it was started, in milliseconds.
    pub age_ms: u64,
    /// How its first process ended, if it has.
    pub exit: Option<Exit>,
    /// The last lines that it wrote, if it has.
    pub last_lines: Vec<String>,
    /// No process of it is left.
    pub is_gone: bool,
}

/// What is new about a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogNews {
    /// Bytes of output that were dropped since the last news.
    pub dropped_bytes: u64,
    /// Why output cannot be kept now; `None` when it can.
    pub trouble: Option<String>,
    /// What somebody else did to the files.
    pub note: Option<String>,
}

/// One line, with its end.
///
/// # Errors
/// A path that is not UTF-8 cannot be written.
pub fn encode<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let attempt = Attempt { id: ReplicaId(5), attempt: 2 };
        let env = BTreeMap::from([("A".to_owned(), "a line\nand another".to_owned())]);
        let cgroup = Cgroup { directory: "/sys/fs/cgroup/x".into(), hierarchy: "name=systemd".into(), path: "/x".into() };
        let spawn = Spawn {
            attempt,
            program: "/bin/x".into(),
            args: vec!["é".into()],
            env,
            artifact: Some("/srv/x".into()),
            lease: Some("/var/cache/x".into()),
            directory: "/run/x".into(),
            cgroup: Some(cgroup.clone()),
            limiters: vec![cgroup],
            limits: Limits { nice: Some(3), ..Limits::default() },
            strict_limits: true,
            log: "/var/log/x".into(),
            log_spec: LogSpec::default(),
            run_as: RunAs { user: Some("nobody".into()), umask: Some(0o27), ..RunAs::default() },
            sandbox: Some(Sandbox { read: vec!["/srv".into()], write: vec![] }),
            private_tmp: Some("/tmp/x".into()),
            socket: Some(HandedOver { socket: ReplicaId(4), name: "web".into() }),
        };
        let commands = [
            Command::Spawn(Box::new(spawn.clone())),
            Command::Terminate(attempt),
            Command::Kill(attempt),
            Command::Forget { id: attempt.id },
            Command::Check(Box::new(Check { spawn: Spawn { program: "/bin/c".into(), ..spawn }, nth: 1, timeout_ms: 500 })),
            Command::Ping,
            Command::End,
        ];
        for command in commands {
            let line = encode(&command).unwrap();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Command>(&line).unwrap(), command);
        }
        let messages = [
            Message::Spawned {
                attempt,
                pid: 7,
                tree: Tree::Cgroup,
                without: None,
                limits: Enforcement::from([("nice".into(), "enforced".into())]),
                port: Some(4),
                unrecorded: None,
            },
            Message::Spawned {
                attempt,
                pid: 7,
                tree: Tree::Session,
                without: Some("no".into()),
                limits: Enforcement::new(),
                port: None,
                unrecorded: None,
            },
            Message::Inventory(vec![Holding {
                attempt,
                pid: 7,
                tree: Tree::Session,
                limits: Enforcement::new(),
                age_ms: 8,
                exit: Some(Exit::Code(3)),
                last_lines: vec![],
                is_gone: true,
            }]),
            Message::SpawnFailed { attempt, error: "no".into() },
            Message::Exited { attempt, exit: Exit::Signal(9), last_lines: vec!["bye".into()] },
            Message::Exited { attempt, exit: Exit::Code(-1), last_lines: vec![] },
            Message::Exited { attempt, exit: Exit::OutOfMemory(None), last_lines: vec![] },
            Message::TreeGone { attempt },
            Message::Log { id: attempt.id, news: LogNews { dropped_bytes: 3, trouble: Some("full".into()), note: None } },
            Message::Checked { attempt, nth: 2, end: CheckEnd::Failed("exited with code 1".into()) },
            Message::Pong,
        ];
        for message in messages {
            assert_eq!(serde_json::from_slice::<Message>(&encode(&message).unwrap()).unwrap(), message);
        }
    }
}
