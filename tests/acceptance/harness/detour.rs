//! A way to a server that can go wrong: a proxy that passes bytes on, slowly, not all of them, or not as they came.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cluster::local;

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Open,
    /// Each answer takes so many milliseconds more before its first byte.
    Slow(u64),
    /// Nothing ever comes back.
    Silent,
    /// Each answer breaks off after so many bytes.
    CutAfter(usize),
    /// Requests say that they were made a year ago.
    YearAgo,
}

/// The proxy, while it runs.
pub struct Detour {
    port: u16,
    way: Arc<Mutex<Way>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Detour {
    /// A way to this port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(local(0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, is_over) = (Arc::new(Mutex::new(Way::Open)), Arc::new(AtomicBool::new(false)));
        let (shared, over) = (Arc::clone(&way), Arc::clone(&is_over));
        let accept = move || {
            let mut threads = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(server) = TcpStream::connect(local(port)) {
                    let (over, there, back) = (Arc::clone(&over), client.try_clone().unwrap(), server.try_clone().unwrap());
                    let (up, way, there_way) = (Arc::clone(&over), Arc::clone(&shared), Arc::clone(&shared));
                    threads.push(thread::spawn(move || carry(there, server, &there_way, true, &up)));
                    threads.push(thread::spawn(move || carry(back, client, &way, false, &over)));
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        };
        Detour { port: own, way, is_over, thread: Some(thread::spawn(accept)) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, on connections that are open too.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(local(self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, ways: &Mutex<Way>, is_request: bool, over: &AtomicBool) {
    let _ = from.set_read_timeout(Some(Duration::from_millis(100)));
    // Of an answer that is to break off.
    let mut carried = 0;
    let mut buffer = [0; 64 * 1024];
    while !over.load(Ordering::Relaxed) {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        let mut bytes = buffer[..count].to_vec();
        let way = *ways.lock().unwrap();
        match way {
            // Slowness is what is tested.
            Way::Slow(ms) if !is_request => thread::sleep(Duration::from_millis(ms)),
            Way::Silent if !is_request => continue,
            Way::CutAfter(most) if !is_request => {
                bytes.truncate(most.saturating_sub(carried));
                carried += bytes.len();
            }
            Way::YearAgo if is_request => bytes = a_year_ago(&bytes),
            _ => {}
        }
        let is_cut = matches!(way, Way::CutAfter(most) if !is_request && carried >= most);
        if to.write_all(&bytes).is_err() || is_cut {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// One connection is one request after another, and each head comes in one piece.
fn a_year_ago(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let Some(at) = text.find("x-amz-date: ").map(|at| at + "x-amz-date: ".len()) else { return bytes.to_vec() };
    let year: u32 = text[at..at + 4].parse().unwrap();
    format!("{}{}{}", &text[..at], year - 1, &text[at + 4..]).into_bytes()
}
