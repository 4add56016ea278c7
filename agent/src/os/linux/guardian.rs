//! The guardian process: spawns, reaps, drains output, and ends everything when its agent is gone.
//!
//! One thread, one loop over epoll. Absent from here: any decision. It does what the agent says and tells what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster::ReplicaId;
use cluster::supervise::Exit;
use rustix::event::{Timespec, epoll};
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

use super::cgroup::{Tree, remove_agents};
use super::exec_checks::{CHECKS, ExecChecks};
use super::output::{Output, Room};
use super::process::{Reaped, end_children, kill_below, kill_child, reap_one, stat};
use super::signal_file::SignalFile;
use super::sockets::Sockets;
use super::start::{Cgroups, Started, start};
use super::strays::{Strays, Suspect};
use super::surroundings::{Listening, take_listen_fd};
use super::system::prepare;
use crate::guardian::CGROUPS_VARIABLE;
use crate::guardian::protocol::{Attempt, Cgroup, Command, LINE_BYTES_MAX, Message, Spawn, encode};

/// What the numbers of events mean: these two, and from `PIPES` on two for each replica.
const AGENT: u64 = 0;
const SIGNALS: u64 = 1;
const PIPES: u64 = 2;

const BUFFER_BYTES: usize = 64 * 1024;
/// How soon a tree that is being killed is looked at again, in milliseconds: a fork may have slipped through.
const LOOK_AGAIN_MS_MIN: u64 = 5;
/// The same for a process that does not die, stuck in the kernel.
const LOOK_AGAIN_MS_MAX: u64 = 500;
/// How often logs that need it are seen to.
const CARE_EVERY: Duration = Duration::from_secs(1);

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
    agent: UnixStream,
    from_agent: Vec<u8>,
    to_agent: Vec<u8>,
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

struct Entry {
    output: Output,
    pipes: u64,
    /// The attempt of which processes may be left.
    live: Option<Live>,
}

struct Live {
    attempt: u32,
    session: i32,
    started: u64,
    first: First,
    killing: bool,
    /// Its cgroups, if it has any.
    cgroups: Cgroups,
}

/// The first process of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Runs(Pid),
    JustEnded,
    Ended,
}

impl Guardian {
    fn new() -> io::Result<Self> {
        prepare().map_err(io::Error::other)?;
        // SAFETY: descriptor 0 is open: the standard library opens /dev/null where it was not. Nothing else in this process uses it.
        let stdin = unsafe { OwnedFd::from_raw_fd(0) };
        if !std::fs::read_link("/proc/self/fd/0").is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            return Err(io::Error::other("standard input is not a socket"));
        }
        let agent = UnixStream::from(stdin);
        agent.set_nonblocking(true)?;
        let signals = SignalFile::open()?;
        let listen_fd = take_listen_fd(signals.as_fd())?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &agent, epoll::EventData::new_u64(AGENT), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &signals, epoll::EventData::new_u64(SIGNALS), epoll::EventFlags::IN)?;
        Ok(Guardian {
            agent,
            from_agent: Vec::new(),
            to_agent: Vec::new(),
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
        })
    }

    /// Returns when the agent is gone.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            let is_waiting = self.is_waiting();
            let look_again = is_waiting.then(|| Duration::from_millis(self.look_again_ms));
            let care = self.care_at.map(|at| at.saturating_duration_since(Instant::now()));
            let checks = self.checks.wait_ms().map(Duration::from_millis);
            let wait = look_again.into_iter().chain(care).chain(checks).chain(self.sockets.wait()).min().map(timespec);
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
            if events.is_empty() && is_waiting || has(SIGNALS) {
                self.sweep()?;
            }
            for event in &events {
                let number = event.data.u64();
                if number >= CHECKS {
                    self.checks.drain(number, &mut self.room.buffer);
                } else if number >= PIPES
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
            if has(AGENT) && !self.hear()? {
                return Ok(());
            }
            self.tell()?;
        }
    }

    /// Once a second, while any log needs it: writes what waits, and tells the agent.
    fn care(&mut self) {
        if self.care_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        // An agent that does not read is told later, so that what waits for it stays bounded.
        if self.to_agent.is_empty() {
            for (id, entry) in self.replicas.iter_mut().filter(|(_, entry)| entry.output.needs_care()) {
                if let Some(news) = entry.output.care() {
                    queue(&mut self.to_agent, &Message::Log { id: *id, news });
                }
            }
        }
        let goes_on = self.replicas.values().any(|entry| entry.output.needs_care());
        self.care_at = goes_on.then(|| Instant::now() + CARE_EVERY);
    }

    /// Something is to be looked at again although nothing is heard of it: what is being killed, and a cgroup, which may be empty a
    /// moment after its last process was reaped.
    fn is_waiting(&self) -> bool {
        let is_waited_for = |live: &Live| live.killing || (live.cgroups.tree.is_some() && live.first == First::Ended);
        self.replicas.values().filter_map(|entry| entry.live.as_ref()).any(is_waited_for)
    }

    /// Ends every process of every attempt. When the agent is gone its cgroup goes too.
    fn end_all(&self, agent_is_gone: bool) {
        let trees: Vec<&Tree> = self.replicas.values().filter_map(|entry| entry.live.as_ref()?.cgroups.tree.as_ref()).collect();
        trees.iter().for_each(|tree| tree.kill());
        while !end_children() {
            sleep(Duration::from_millis(1));
        }
        let agents = std::env::var(CGROUPS_VARIABLE).ok().and_then(|text| serde_json::from_str::<Vec<Cgroup>>(&text).ok());
        // What something is in is left to the next agent on that runtime directory.
        for cgroup in agents.filter(|_| agent_is_gone).iter().flatten() {
            remove_agents(cgroup);
        }
    }

    /// Reads what the agent says and does it. False when the agent is gone.
    fn hear(&mut self) -> io::Result<bool> {
        match (&self.agent).read(&mut self.room.buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => self.from_agent.extend_from_slice(&self.room.buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            // A reset is an end as well.
            Err(_) => return Ok(false),
        }
        let Some(end) = self.from_agent.iter().rposition(|byte| *byte == b'\n') else {
            return if self.from_agent.len() > LINE_BYTES_MAX { Err(io::Error::other("the agent's line is too long")) } else { Ok(true) };
        };
        let rest = self.from_agent.split_off(end + 1);
        let lines = std::mem::replace(&mut self.from_agent, rest);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.obey(serde_json::from_slice(line)?)?;
            // What was started is said before the next is: the agent may already watch for it.
            self.tell()?;
        }
        Ok(true)
    }

    fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Spawn(spawn) => match self.spawn(&spawn) {
                Ok(message) => self.say(&message),
                Err(e) => self.say(&Message::SpawnFailed { attempt: spawn.attempt, error: spawn_sentence(&spawn, &e) }),
            },
            Command::Terminate(attempt) => {
                // Once the first process is reaped the number of its group may be somebody else's.
                if let Some(Live { first: First::Runs(pid), .. }) = self.live(attempt) {
                    let _ = kill_process_group(*pid, Signal::TERM);
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
            let pipes = self.next_pipes;
            for (at, reader) in output.readers() {
                epoll::add(&self.epoll, reader, epoll::EventData::new_u64(pipes + at as u64), epoll::EventFlags::IN)?;
            }
            self.next_pipes += 2;
            self.pipes.insert(pipes, id);
            self.replicas.insert(id, Entry { output, pipes, live: None });
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
        let Started { pid, cgroups, without, limits } = start(spawn, &entry.output, listening)?;
        let tree = if cgroups.tree.is_some() { cluster::tree::Tree::Cgroup } else { cluster::tree::Tree::Session };
        // A child that was not reaped has a stat, even if it ended already.
        let started = stat(pid).map_or(0, |stat| stat.started);
        let session = pid.as_raw_nonzero().get();
        entry.live = Some(Live { attempt: spawn.attempt.attempt, session, started, first: First::Runs(pid), killing: false, cgroups });
        let port = listening.map(|listening| listening.port);
        Ok(Message::Spawned { attempt: spawn.attempt, pid: session.unsigned_abs(), tree, without, limits, port })
    }

    fn kill(&mut self, of: Attempt) -> io::Result<()> {
        self.checks.end_of(of);
        let Some(live) = self.live(of) else {
            // It was over before it was asked for.
            return self.say(&Message::TreeGone { attempt: of });
        };
        live.killing = true;
        live.cgroups.tree.iter().for_each(Tree::kill);
        if let First::Runs(pid) = live.first {
            // First those below: once their parent is dead it is harder to tell whose they are.
            kill_below(pid);
            kill_child(pid);
        }
        self.look_again_ms = LOOK_AGAIN_MS_MIN;
        self.sweep()
    }

    /// Collects the children that ended.
    fn reap(&mut self) {
        self.checks.before_reaping();
        while let Reaped::One(pid, status) = reap_one() {
            self.strays.reaped(pid);
            if let Some(message) = self.checks.reaped(pid, status, &mut self.room.buffer) {
                self.queue(&message);
            }
            let ended = self.replicas.iter_mut().find_map(|(id, entry)| {
                let live = entry.live.as_mut().filter(|live| live.first == First::Runs(pid))?;
                live.first = First::JustEnded;
                let attempt = Attempt { id: *id, attempt: live.attempt };
                let exit = match exit_of(status) {
                    Exit::Signal(libc::SIGKILL) if live.cgroups.has_killed() => Exit::OutOfMemory(None),
                    Exit::Code(code) if code != 0 && live.cgroups.has_killed() => Exit::OutOfMemory(Some(code)),
                    exit => exit,
                };
                entry.output.drain_all(&mut self.room);
                Some(Message::Exited { attempt, exit, last_lines: entry.output.last_lines() })
            });
            if let Some(message) = ended {
                if let Message::Exited { attempt, .. } = &message {
                    self.checks.end_of(*attempt);
                }
                self.queue(&message);
            }
        }
    }

    /// Looks for what is left of attempts whose first process ended: kills it where that was asked for, and says so when nothing is.
    fn sweep(&mut self) -> io::Result<()> {
        let mut first: BTreeSet<i32> = self.checks.pids().collect();
        let mut suspects = Vec::new();
        for (id, entry) in &self.replicas {
            let Some(live) = &entry.live else { continue };
            if let First::Runs(pid) = live.first {
                first.insert(pid.as_raw_nonzero().get());
            }
            let just_ended = live.first == First::JustEnded;
            suspects.push(Suspect { id: *id, session: live.session, started: live.started, tree: live.cgroups.tree.as_ref(), just_ended });
        }
        self.strays.look(&first, &suspects)?;
        let mut gone = Vec::new();
        for (id, entry) in &mut self.replicas {
            let Some(live) = &mut entry.live else { continue };
            if !matches!(live.first, First::Runs(_)) {
                live.first = First::Ended;
                let has_checks = self.checks.any_of(Attempt { id: *id, attempt: live.attempt });
                if self.strays.of(*id).next().is_none() && !has_checks && live.cgroups.tree.as_ref().is_none_or(Tree::is_empty) {
                    live.cgroups.remove();
                    gone.push(Attempt { id: *id, attempt: live.attempt });
                    entry.live = None;
                    continue;
                }
            }
            if live.killing {
                live.cgroups.tree.iter().for_each(Tree::kill);
                for pid in self.strays.of(*id) {
                    kill_below(pid);
                    kill_child(pid);
                }
            }
        }
        for attempt in gone {
            self.queue(&Message::TreeGone { attempt });
        }
        self.end_unowned();
        Ok(())
    }

    /// Orphans that nobody owns end when no replica is left that they might belong to.
    fn end_unowned(&self) {
        if self.replicas.values().all(|entry| entry.live.is_none()) {
            for pid in self.strays.unowned() {
                kill_below(pid);
                kill_child(pid);
            }
        }
    }

    fn say(&mut self, message: &Message) -> io::Result<()> {
        self.queue(message);
        self.tell()
    }

    fn queue(&mut self, message: &Message) {
        queue(&mut self.to_agent, message);
    }

    /// Writes what the agent takes now; the rest follows when it reads.
    fn tell(&mut self) -> io::Result<()> {
        let had_rest = !self.to_agent.is_empty();
        while !self.to_agent.is_empty() {
            match (&self.agent).write(&self.to_agent) {
                Ok(n) => {
                    self.to_agent.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // The agent is gone: its end of the socket is seen by the next read.
                Err(_) => self.to_agent.clear(),
            }
        }
        if had_rest {
            let flags = if self.to_agent.is_empty() { epoll::EventFlags::IN } else { epoll::EventFlags::IN | epoll::EventFlags::OUT };
            epoll::modify(&self.epoll, &self.agent, epoll::EventData::new_u64(AGENT), flags)?;
        }
        Ok(())
    }
}

fn queue(to_agent: &mut Vec<u8>, message: &Message) {
    // Bounded by what the agent asked for: at most three messages for each attempt, and one at a time for each log.
    if let Ok(line) = encode(message) {
        to_agent.extend_from_slice(&line);
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
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
