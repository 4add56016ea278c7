//! A small web server that artifacts are fetched from, with all the manners of bad ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What somebody asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub path: String,
    /// The first byte of the range, if it was for one.
    pub from: Option<usize>,
    pub fields: BTreeMap<String, String>,
    /// How often that path was asked for before.
    pub before: usize,
}

type Manner = Arc<dyn Fn(&Asked, &mut TcpStream) + Send + Sync>;

#[derive(Clone, Default)]
struct Inside {
    manners: Arc<Mutex<BTreeMap<String, Manner>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
}

pub struct Store {
    pub port: u16,
    inside: Inside,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inside = Inside::default();
        let served = inside.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let served = served.clone();
                std::thread::spawn(move || served.answer(stream.unwrap()));
            }
        });
        Store { port, inside, thread: Some(thread) }
    }

    /// What is answered for a path.
    pub fn serve(&self, path: &str, manner: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) {
        self.inside.manners.lock().unwrap().insert(path.to_owned(), Arc::new(manner));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What was asked for at a path.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.inside.asked.lock().unwrap().iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.inside.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Inside {
    fn answer(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        if stream.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut asked = Asked { path: first.split(' ').nth(1).unwrap().to_owned(), ..Asked::default() };
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            asked.fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let range = asked.fields.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        asked.from = range;
        {
            let mut all = self.asked.lock().unwrap();
            asked.before = all.iter().filter(|other| other.path == asked.path).count();
            all.push(asked.clone());
        }
        let manner = self.manners.lock().unwrap().get(&asked.path).cloned();
        match manner {
            Some(manner) => manner(&asked, stream.get_mut()),
            None => status(stream.get_mut(), "404 Not Found", ""),
        }
    }
}

/// An answer with nothing in it; the client may have gone.
pub fn status(stream: &mut TcpStream, status: &str, fields: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{fields}\r\n");
}

/// The bytes that were asked for, but no more than `most` of them.
pub fn ranged(asked: &Asked, stream: &mut TcpStream, bytes: &[u8], most: usize) {
    let from = asked.from.unwrap_or(0);
    if from >= bytes.len() {
        return status(stream, "416 Range Not Satisfiable", "");
    }
    let (word, range) = match asked.from {
        Some(from) => ("206 Partial Content", format!("content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len())),
        None => ("200 OK", String::new()),
    };
    let rest = &bytes[from..];
    let head = format!("HTTP/1.1 {word}\r\ncontent-length: {}\r\netag: \"one\"\r\nconnection: close\r\n{range}\r\n", rest.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..rest.len().min(most)]));
}

/// All bytes, whatever was asked for.
pub fn whole(stream: &mut TcpStream, bytes: &[u8]) {
    ranged(&Asked::default(), stream, bytes, usize::MAX);
}
