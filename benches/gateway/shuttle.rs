//! The floor: a byte shuttle. It accepts, connects to the next worker, and copies bytes both ways; it reads no HTTP.
//!
//! One thread per core, each with a listener and an epoll instance of its own, level-triggered: in the common case a message
//! costs one read and one write, and a share of one wait. A proxy that parses cannot do with less. Half-closed connections
//! are not in it: when one side has ended, both are closed.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{process, thread};

use anyhow::{Context as _, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// The first argument that makes this program a shuttle. Then: the address to listen on, and those of the workers.
pub const ARG: &str = "--shuttle";

const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS: usize = 256;
const BACKLOG: i32 = 4096;
/// What the listener is called among the events; the sides of pair `n` are `2n` and `2n + 1`.
const LISTENER: u64 = u64::MAX;

/// Shuttles until standard input ends, so that it cannot outlive who started it.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    match begin(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shuttle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(args: impl Iterator<Item = String>) -> Result<()> {
    let addresses: Vec<SocketAddr> = args.map(|arg| arg.parse()).collect::<Result<_, _>>().context("not an address")?;
    let (own, workers) = addresses.split_first().context("no address to listen on")?;
    ensure!(!workers.is_empty(), "no worker");
    let turn = Arc::new(AtomicUsize::new(0));
    for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
        let (listener, workers, turn) = (listener(*own)?, workers.to_vec(), Arc::clone(&turn));
        thread::spawn(move || {
            let error = Shuttle::new(listener, workers, turn).and_then(|mut shuttle| shuttle.run());
            eprintln!("shuttle: {error:?}");
            process::exit(1);
        });
    }
    // The threads do not end; the process does, and they with it.
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).context("cannot read standard input")?;
    Ok(())
}

fn listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address).with_context(|| format!("cannot listen on {address}"))?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// One end of a pair.
struct Side {
    stream: TcpStream,
    /// What this side has not taken yet. While there is any, the other side is not read.
    unsent: Vec<u8>,
}

/// A client and its worker.
struct Pair([Side; 2]);

/// One thread's share.
struct Shuttle {
    epoll: OwnedFd,
    listener: TcpListener,
    workers: Vec<SocketAddr>,
    turn: Arc<AtomicUsize>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

impl Shuttle {
    fn new(listener: TcpListener, workers: Vec<SocketAddr>, turn: Arc<AtomicUsize>) -> io::Result<Shuttle> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Shuttle { epoll, listener, workers, turn, pairs: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER_BYTES] })
    }

    /// Returns only with an error.
    fn run(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // Closed only after all events were seen, so that no event meets a new pair in the place of an old one.
            let mut over = Vec::new();
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                if data.u64() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let token = usize::try_from(data.u64()).unwrap_or(usize::MAX);
                if self.carry(token, flags).is_err() {
                    over.push(token / 2);
                }
            }
            for at in over {
                if self.pairs.get_mut(at).and_then(Option::take).is_some() {
                    self.free.push(at);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client is gone again.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let next = self.turn.fetch_add(1, Ordering::Relaxed) % self.workers.len();
            // Over loopback a connect is done at once. If it fails, the client sees its connection closed.
            let Ok(worker) = TcpStream::connect(self.workers[next]) else { continue };
            let at = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            for (side, stream) in [&client, &worker].into_iter().enumerate() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll::add(&self.epoll, stream, EventData::new_u64((at * 2 + side) as u64), EventFlags::IN)?;
            }
            self.pairs[at] = Some(Pair([client, worker].map(|stream| Side { stream, unsent: Vec::new() })));
        }
    }

    /// Does what an event asks for. An error means that the pair is over.
    fn carry(&mut self, token: usize, flags: EventFlags) -> io::Result<()> {
        let Some(Pair(sides)) = self.pairs.get_mut(token / 2).and_then(Option::as_mut) else { return Ok(()) };
        let [client, worker] = sides;
        let (from, to) = if token.is_multiple_of(2) { (client, worker) } else { (worker, client) };
        if flags.contains(EventFlags::OUT) {
            let sent = write(&from.stream, &from.unsent)?;
            from.unsent.drain(..sent);
            if from.unsent.is_empty() {
                epoll::modify(&self.epoll, &from.stream, EventData::new_u64(token as u64), EventFlags::IN)?;
                epoll::modify(&self.epoll, &to.stream, EventData::new_u64((token ^ 1) as u64), EventFlags::IN)?;
            }
            return Ok(());
        }
        if !to.unsent.is_empty() {
            // It is not read now, so this is its end.
            return Err(ErrorKind::BrokenPipe.into());
        }
        let read = match (&from.stream).read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let sent = write(&to.stream, &self.buffer[..read])?;
        if sent < read {
            to.unsent.extend_from_slice(&self.buffer[sent..read]);
            epoll::modify(&self.epoll, &from.stream, EventData::new_u64(token as u64), EventFlags::empty())?;
            epoll::modify(&self.epoll, &to.stream, EventData::new_u64((token ^ 1) as u64), EventFlags::OUT)?;
        }
        Ok(())
    }
}

/// How much the socket took.
fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
