//! The guardian process: spawns, reaps, drains output, and ends everything when its agent is gone, or waits for the next one.
//!
//! One thread, one loop over epoll. Absent from here: any decision. It does what the agent says and tells what happened.

mod ends;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use rustix::event::{Timespec, epoll};

use super::adopt;
use super::agent_line::{AGENT, AgentLine, Heard, LISTENER};
use super::entry::{Entry, First, Live};
use super::exec_checks::{CHECKS, ExecChecks};
use super::handover::Left;
use super::output::{Output, Room};
use super::process::stat;
use super::process_record;
use super::rendezvous::this_program;
use super::signal_file::SignalFile;
use super::sockets::Sockets;
use super::start::{Cgroups, Started, start};
use super::strays::Strays;
use super::surroundings::{Listening, take_listen_fd};
use super::system::prepare;
use crate::guardian::hello::{Answer, Hello, PROTOCOL};
use crate::guardian::protocol::{Attempt, Cgroup, Command, Holding, Message, Spawn};
use crate::guardian::{CGROUPS_VARIABLE, GUARDIAN_VARIABLE};

/// What the numbers of events mean, beside those of the line to the agent: from `PIPES` on two for each replica, from `PINNED` on a pid.
const SIGNALS: u64 = 1;
const PIPES: u64 = 4;
const PINNED: u64 = 1 << 61;

const BUFFER_BYTES: usize = 64 * 1024;
/// How soon a tree that is being killed is looked at again, in milliseconds: a fork may have slipped through.
const LOOK_AGAIN_MS_MIN: u64 = 5;
/// The same for a process that does not die, stuck in the kernel.
const LOOK_AGAIN_MS_MAX: u64 = 500;
/// How often logs that need it are seen to.
const CARE_EVERY: Duration = Duration::from_secs(1);
/// A guardian that is to outlive its agent ends when it has nothing to keep and no agent came for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The guardian's `main`. The program calls it before anything else when its first argument is [`crate::GUARDIAN_ARG`].
#[must_use]
pub fn guardian_main() -> ExitCode {
    let mut guardian = match Guardian::new() {
        Ok(guardian) => guardian,
        Err(e) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(io::stderr(), "the guardian cannot start (an agent starts it, not a person): {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = guardian.run();
    guardian.end_all(result.is_ok());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "the guardian ended: {e}");
            ExitCode::FAILURE
        }
    }
}

struct Guardian {
    line: AgentLine,
    /// It is to end with all that it has.
    is_over: bool,
    /// Since when there is neither an agent nor anything to keep.
    idle_since: Option<Instant>,
    signals: SignalFile,
    epoll: OwnedFd,
    replicas: BTreeMap<ReplicaId, Entry>,
    /// Whose pipes the numbers of events mean.
    pipes: BTreeMap<u64, ReplicaId>,
    next_pipes: u64,
    strays: Strays,
    checks: ExecChecks,
    look_again_ms: u64,
    /// When logs are to be seen to; `None` while none needs it.
    care_at: Option<Instant>,
    room: Room,
    sockets: Sockets,
    _listen_fd: Option<OwnedFd>,
}

impl Guardian {
    fn new() -> io::Result<Self> {
        prepare().map_err(io::Error::other)?;
        let signals = SignalFile::open()?;
        let listen_fd = take_listen_fd(signals.as_fd())?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &signals, epoll::EventData::new_u64(SIGNALS), epoll::EventFlags::IN)?;
        let left = Left::take()?;
        let mut guardian = Guardian {
            line: AgentLine::open(&epoll)?,
            is_over: false,
            idle_since: None,
            signals,
            epoll,
            replicas: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next_pipes: PIPES,
            strays: Strays::default(),
            checks: ExecChecks::default(),
            look_again_ms: LOOK_AGAIN_MS_MIN,
            care_at: None,
            room: Room { buffer: vec![0; BUFFER_BYTES], records: Vec::new() },
            sockets: Sockets::default(),
            _listen_fd: listen_fd,
        };
        match left {
            Some(left) => guardian.resume(left)?,
            None if guardian.line.keeps() => guardian.adopt()?,
            None => {}
        }
        Ok(guardian)
    }

    /// Goes on with what the program before this one had.
    fn resume(&mut self, left: Left) -> io::Result<()> {
        let (agent, entries, sockets) = left.entries()?;
        self.sockets = sockets;
        self.line.resume(agent, &self.epoll)?;
        for (id, entry) in entries {
            self.take_in(id, entry)?;
        }
        // Signals may have come while nobody took them.
        self.reap();
        self.sweep()?;
        self.greet(None)
    }

    /// Takes in what is on record in the runtime directory of a guardian that died, and ends what is not.
    fn adopt(&mut self) -> io::Result<()> {
        let Ok(runtime) = std::env::var(GUARDIAN_VARIABLE) else { return Err(io::Error::other("no runtime directory is named")) };
        let found = adopt::adopt(Path::new(&runtime), &agents_cgroups())?;
        for (id, entry) in found {
            self.take_in(id, entry)?;
        }
        self.idle_since = Some(Instant::now());
        Ok(())
    }

    /// Waits on the pipes of a replica from now on, and on its first process where that is no child of this one.
    fn take_in(&mut self, id: ReplicaId, mut entry: Entry) -> io::Result<()> {
        entry.pipes = self.next_pipes;
        self.next_pipes += 2;
        for (at, reader) in entry.output.readers() {
            epoll::add(&self.epoll, reader, epoll::EventData::new_u64(entry.pipes + at as u64), epoll::EventFlags::IN)?;
        }
        if let Some(pinned) = entry.live.as_ref().and_then(|live| live.pinned.as_ref().filter(|_| matches!(live.first, First::Runs(_)))) {
            let number = PINNED | u64::from(pinned.pid().as_raw_nonzero().get().unsigned_abs());
            epoll::add(&self.epoll, pinned, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        }
        self.pipes.insert(entry.pipes, id);
        self.replicas.insert(id, entry);
        Ok(())
    }

    /// Returns when the agent is gone.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            let is_waiting = self.is_waiting();
            let look_again = is_waiting.then(|| Duration::from_millis(self.look_again_ms));
            let care = self.care_at.map(|at| at.saturating_duration_since(Instant::now()));
            let checks = self.checks.wait_ms().map(Duration::from_millis);
            let idle = self.idle_since.map(|since| IDLE_MAX.saturating_sub(since.elapsed()));
            let wait = look_again.into_iter().chain(care).chain(checks).chain(idle).chain(self.sockets.wait()).min().map(timespec);
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(0) if is_waiting => self.look_again_ms = (self.look_again_ms * 2).min(LOOK_AGAIN_MS_MAX),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let has = |number| events.iter().any(|event| event.data.u64() == number);
            if has(SIGNALS) {
                self.signals.forget();
                self.reap();
            }
            for message in self.checks.end_late() {
                self.queue(&message);
            }
            let has_pinned = events.iter().any(|event| (PINNED..CHECKS).contains(&event.data.u64()));
            if has_pinned {
                self.see_pinned()?;
            }
            if events.is_empty() && is_waiting || has(SIGNALS) || has_pinned {
                self.sweep()?;
            }
            for event in &events {
                let number = event.data.u64();
                if number >= CHECKS {
                    self.checks.drain(number, &mut self.room.buffer);
                } else if (PIPES..PINNED).contains(&number)
                    && let Some(entry) = self.pipes.get(&(number & !1)).and_then(|id| self.replicas.get_mut(id))
                {
                    entry.output.drain(usize::from(number & 1 == 1), &mut self.room);
                    if self.care_at.is_none() && entry.output.needs_care() {
                        self.care_at = Some(Instant::now() + CARE_EVERY);
                    }
                }
            }
            self.care();
            self.sockets.close_old();
            if has(AGENT) {
                self.hear()?;
            }
            if has(LISTENER) && self.line.accept(&self.epoll)? {
                self.greet(None)?;
            }
            self.line.tell(&self.epoll)?;
            if self.is_over || self.is_idle_for_long() {
                return Ok(());
            }
        }
    }

    /// Says who this is to an agent that came.
    fn greet(&mut self, refused: Option<String>) -> io::Result<()> {
        let hello = Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), program: this_program()?, refused };
        self.line.greet_with(&hello);
        self.line.tell(&self.epoll)
    }

    fn is_idle_for_long(&mut self) -> bool {
        let is_idle = self.line.keeps() && !self.line.is_up() && self.replicas.values().all(|entry| entry.live.is_none());
        self.idle_since = self.idle_since.filter(|_| is_idle).or_else(|| is_idle.then(Instant::now));
        self.idle_since.is_some_and(|since| since.elapsed() >= IDLE_MAX)
    }

    /// Once a second, while any log needs it: writes what waits, and tells the agent.
    fn care(&mut self) {
        if self.care_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        // An agent that does not read, or is not there, is told later, so that what waits for it stays bounded.
        let is_heard = self.line.is_idle();
        for (id, entry) in self.replicas.iter_mut().filter(|(_, entry)| entry.output.needs_care()) {
            if let Some(news) = entry.output.care(is_heard) {
                self.line.queue(&Message::Log { id: *id, news });
            }
        }
        let goes_on = self.replicas.values().any(|entry| entry.output.needs_care());
        self.care_at = goes_on.then(|| Instant::now() + CARE_EVERY);
    }

    /// Something is to be looked at again although nothing is heard of it.
    fn is_waiting(&self) -> bool {
        self.replicas.values().filter_map(|entry| entry.live.as_ref()).any(Live::is_waited_for)
    }

    /// Reads what the agent says and does it.
    fn hear(&mut self) -> io::Result<()> {
        loop {
            let line = match self.line.hear(&mut self.room.buffer)? {
                Heard::Line(line) => line,
                Heard::Nothing => return Ok(()),
                Heard::Gone if self.line.keeps() => {
                    // Nobody waits for what they find out any more.
                    self.checks.end_all();
                    return self.line.hang_up(&self.epoll);
                }
                Heard::Gone => {
                    self.is_over = true;
                    return Ok(());
                }
            };
            let obeyed = if self.line.has_begun {
                serde_json::from_slice(&line).map_err(io::Error::from).and_then(|command| self.obey(command))
            } else {
                serde_json::from_slice(&line).map_err(io::Error::from).and_then(|answer| self.answer(answer))
            };
            match obeyed {
                // Whoever that was, what is kept is not to end with it.
                Err(e) if self.line.keeps() => {
                    let _ = writeln!(io::stderr(), "the guardian hangs up on its agent: {e}");
                    return self.line.hang_up(&self.epoll);
                }
                obeyed => obeyed?,
            }
            // What was started is said before the next is: the agent may already watch for it.
            self.line.tell(&self.epoll)?;
            if self.is_over || !self.line.has_lines() {
                return Ok(());
            }
        }
    }

    /// What an agent that came wants of a guardian that it did not start, or has just started.
    fn answer(&mut self, answer: Answer) -> io::Result<()> {
        match answer {
            Answer::Begin {} => {
                self.sweep()?;
                self.line.has_begun = true;
                let of = |(id, entry): (&ReplicaId, &Entry)| entry.live.as_ref().map(|live| live.holding(*id)).or(entry.past.clone());
                let inventory: Vec<Holding> = self.replicas.iter().filter_map(of).collect();
                self.line.queue(&Message::Inventory(inventory));
                Ok(())
            }
            Answer::Exec { program, name } => {
                let Some(agent) = self.line.fd() else { return Ok(()) };
                let error = Left::of(agent, &mut self.replicas, &self.sockets).exec(&program, &name);
                self.greet(Some(format!("{} cannot be executed: {error}", program.display())))
            }
            Answer::End {} => {
                self.is_over = true;
                Ok(())
            }
        }
    }

    fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Spawn(spawn) => match self.spawn(&spawn) {
                Ok(message) => self.say(&message),
                Err(e) => self.say(&Message::SpawnFailed { attempt: spawn.attempt, error: spawn_sentence(&spawn, &e) }),
            },
            Command::Terminate(attempt) => {
                if let Some(live) = self.live(attempt) {
                    live.terminate(attempt.id);
                }
                Ok(())
            }
            Command::Kill(attempt) => self.kill(attempt),
            Command::Check(check) => {
                let of = check.spawn.attempt;
                let live = self.replicas.get(&of.id).and_then(|entry| entry.live.as_ref()).filter(|live| live.attempt == of.attempt);
                // An attempt that is over has no cgroup to be checked in; its agent hears soon that it is over.
                let nowhere = Cgroups::default();
                match self.checks.start(&check, live.map_or(&nowhere, |live| &live.cgroups), &self.epoll) {
                    Some(message) => self.say(&message),
                    None => Ok(()),
                }
            }
            Command::Forget { id } => {
                if let Some(mut entry) = self.replicas.remove(&id) {
                    self.pipes.remove(&entry.pipes);
                    if let Some(news) = entry.output.end(&mut self.room) {
                        self.queue(&Message::Log { id, news });
                    }
                }
                self.sockets.release(id);
                self.end_unowned();
                Ok(())
            }
            Command::End => {
                self.is_over = true;
                Ok(())
            }
            Command::Ping => {
                // Who is an orphan already cannot be the heir of a process that ends later.
                self.sweep()?;
                self.say(&Message::Pong)
            }
        }
    }

    fn live(&mut self, of: Attempt) -> Option<&mut Live> {
        self.replicas.get_mut(&of.id).and_then(|entry| entry.live.as_mut()).filter(|live| live.attempt == of.attempt)
    }

    fn spawn(&mut self, spawn: &Spawn) -> io::Result<Message> {
        let id = spawn.attempt.id;
        if !self.replicas.contains_key(&id) {
            let output = Output::open(&spawn.directory, &spawn.log, spawn.log_spec)
                .map_err(|e| io::Error::other(format!("its output cannot be kept in {}: {e}", spawn.directory.display())))?;
            let (directory, log) = (spawn.directory.clone(), spawn.log.clone());
            self.take_in(id, Entry { output, pipes: 0, directory, log, log_spec: spawn.log_spec, live: None, past: None })?;
        }
        let runs = |other| self.replicas.get(&other).is_some_and(|entry| entry.live.is_some());
        if runs(id) {
            return Err(io::Error::other("the attempt before it has processes left"));
        }
        let listening = spawn.socket.as_ref().map(|wanted| {
            let (socket, port) = self.sockets.of(wanted, id, runs)?;
            io::Result::Ok(Listening { socket, port, name: &wanted.name })
        });
        let listening = listening.transpose().map_err(|e| io::Error::other(format!("its socket cannot be opened: {e}")))?;
        let Some(entry) = self.replicas.get_mut(&id) else { return Err(io::Error::other("its pipes are gone")) };
        entry.output.begin();
        let Started { pid, cgroups, without, limits, lease } = start(spawn, &entry.output, listening)?;
        // A child that was not reaped has a stat, even if it ended already.
        let started = stat(pid).map_or(0, |stat| stat.started);
        let session = pid.as_raw_nonzero().get();
        let (attempt, first) = (spawn.attempt.attempt, First::Runs(pid));
        let live =
            Live { attempt, session, started, first, pinned: None, killing: false, cgroups, limits: limits.clone(), lease, end: None };
        let tree = live.kind();
        let recorded = if self.line.keeps() {
            live.record(id, entry.log.clone(), entry.log_spec).and_then(|record| record.write(&entry.directory))
        } else {
            Ok(())
        };
        let unrecorded = recorded.err().map(|e| format!("{} cannot be written: {e}", process_record::path(&entry.directory).display()));
        entry.past = None;
        entry.live = Some(live);
        let port = listening.map(|listening| listening.port);
        Ok(Message::Spawned { attempt: spawn.attempt, pid: session.unsigned_abs(), tree, without, limits, port, unrecorded })
    }

    fn kill(&mut self, of: Attempt) -> io::Result<()> {
        self.checks.end_of(of);
        let Some(live) = self.live(of) else {
            // It was over before it was asked for.
            return self.say(&Message::TreeGone { attempt: of });
        };
        live.killing = true;
        live.kill(of.id);
        self.look_again_ms = LOOK_AGAIN_MS_MIN;
        self.sweep()
    }

    fn say(&mut self, message: &Message) -> io::Result<()> {
        self.queue(message);
        self.line.tell(&self.epoll)
    }

    fn queue(&mut self, message: &Message) {
        self.line.queue(message);
    }
}

/// The cgroups of the agent that started this guardian.
fn agents_cgroups() -> Vec<Cgroup> {
    std::env::var(CGROUPS_VARIABLE).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn spawn_sentence(spawn: &Spawn, error: &io::Error) -> String {
    let program = spawn.program.display();
    match error.raw_os_error() {
        // The file itself was there when the agent looked.
        Some(libc::ENOENT) => format!("{program} cannot be started: its interpreter or loader is not there"),
        Some(libc::ENOEXEC) => format!("{program} cannot be started: {}", super::no_exec::reason(&spawn.program)),
        _ => format!("{program} cannot be started: {error}"),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
