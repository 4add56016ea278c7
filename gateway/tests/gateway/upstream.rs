//! A replica by script: a listener on loopback, and a closure that speaks on each connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::DEADLINE;

/// A running script. Dropped, it ends its connections and joins its threads.
pub struct Upstream {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    is_over: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    heads: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// One connection of a script.
pub struct Conn {
    pub tcp: TcpStream,
    shared: Arc<Shared>,
}

impl Conn {
    /// Reads the head of the next request; `None` at the end of the connection.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.tcp.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return None,
            }
        }
        let head = String::from_utf8(head).unwrap();
        self.shared.heads.lock().unwrap().push(head.clone());
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        Some(head)
    }

    /// Reads up to and with these bytes; `None`: they do not come.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end) {
            self.tcp.read_exact(&mut byte).ok()?;
            bytes.push(byte[0]);
        }
        Some(bytes)
    }

    pub fn body(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut body = vec![0; length];
        self.tcp.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Writes as far as the peer lets it.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.tcp.write_all(bytes.as_ref()).is_ok()
    }

    pub fn answer(&mut self, body: &str) -> bool {
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// Ends with an RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)).unwrap();
        self.shared.streams.lock().unwrap().clear();
    }

    /// Ends with a FIN.
    pub fn end(self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

impl Upstream {
    pub fn start(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), script)
    }

    pub fn on(listener: TcpListener, script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            heads: Mutex::default(),
            streams: Mutex::default(),
        });
        let addr = listener.local_addr().unwrap();
        let accepting = {
            let (shared, script) = (Arc::clone(&shared), Arc::new(script));
            std::thread::spawn(move || {
                let mut serving = Vec::new();
                for tcp in listener.incoming() {
                    let tcp = tcp.unwrap();
                    if shared.is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    tcp.set_nodelay(true).unwrap();
                    shared.streams.lock().unwrap().push(tcp.try_clone().unwrap());
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let conn = Conn { tcp, shared: Arc::clone(&shared) };
                    let script = Arc::clone(&script);
                    serving.push(std::thread::spawn(move || script(conn)));
                }
                drop(listener);
                for thread in serving {
                    let _ = thread.join();
                }
            })
        };
        Upstream { addr, shared, accepting: Some(accepting) }
    }

    /// Answers every request by `name`.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |mut conn| while conn.head().is_some() && conn.answer(name) {})
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Waits until the script has seen so many requests.
    pub fn await_requests(&self, count: usize) {
        crate::client::until("requests at the replica", || self.requests() >= count);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for tcp in self.shared.streams.lock().unwrap().drain(..) {
            let _ = tcp.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect_timeout(&self.addr, DEADLINE);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
