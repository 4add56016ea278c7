//! Watches what kinds of frames a client of HTTP/2 sends: frames that carry nothing and yet make work end the connection when there are
//! too many of them.
//!
//! The h2 crate bounds what such frames cost in memory, and ends a flood of resets, of CONTINUATION (CVE-2024-27316) and of small DATA by
//! itself. It answers every PING and every SETTINGS (CVE-2019-9512, CVE-2019-9515) for as long as they come.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;

/// How many frames that carry nothing may come within one tick of the clock. A client that measures by PING sends some for every round
/// trip; this is thousands in a second.
const IDLE_FRAMES_MAX: u32 = 1_000;
/// The length of the client's preface.
const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;

/// The bytes of a connection, watched.
#[derive(Debug)]
pub(crate) struct Watch<T> {
    io: T,
    clock: Rc<Clock>,
    /// So many bytes are to be passed over before the next head of a frame.
    skip: usize,
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    tick: u64,
    idle_frames: u32,
    is_flood: Rc<Cell<bool>>,
}

impl<T> Watch<T> {
    /// `is_flood` is set when there is one, and nothing more is read then.
    pub(crate) fn new(io: T, clock: Rc<Clock>, is_flood: Rc<Cell<bool>>) -> Self {
        Watch { io, clock, skip: PREFACE_BYTES, head: [0; FRAME_HEAD_BYTES], head_bytes: 0, tick: 0, idle_frames: 0, is_flood }
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let taken = (FRAME_HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                self.take_head();
            }
        }
    }

    /// RFC 9113 section 4.1.
    fn take_head(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let is_idle = match kind {
            // DATA without data, which is not the end either (CVE-2019-9518).
            0 => length == 0 && flags & 1 == 0,
            // HEADERS, RST_STREAM and CONTINUATION are counted elsewhere; WINDOW_UPDATE comes for what we send.
            1 | 3 | 8 | 9 => false,
            _ => true,
        };
        if !is_idle {
            return;
        }
        let tick = self.clock.tick();
        if tick != self.tick {
            self.tick = tick;
            self.idle_frames = 0;
        }
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES_MAX {
            self.is_flood.set(true);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watch<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_flood.get() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.look(&buf.filled()[before..]);
        if self.is_flood.get() {
            // Whoever drives the connection ends it.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watch<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn frames_are_told_apart_wherever_the_bytes_are_parted() {
        let mut bytes = vec![0; PREFACE_BYTES];
        for _ in 0..IDLE_FRAMES_MAX {
            // A PING, a HEADERS and a DATA with bytes that look like heads of frames.
            bytes.extend([0, 0, 8, 6, 0, 0, 0, 0, 0].iter().chain(&[6; 8]));
            bytes.extend([0, 0, 4, 1, 0, 0, 0, 0, 1].iter().chain(&[6; 4]));
            bytes.extend([0, 0, 20, 0, 0, 0, 0, 0, 1].iter().chain(&[0; 20]));
        }
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        for size in [1, 7, 64, bytes.len()] {
            let is_flood: Rc<Cell<bool>> = Rc::default();
            let clock = Rc::new(Clock::new(&Limits::default()));
            let mut watch = Watch::new((), Rc::clone(&clock), Rc::clone(&is_flood));
            bytes.chunks(size).for_each(|part| watch.look(part));
            assert!(!is_flood.get(), "{size}");
            let skipped = watch.skip;
            assert_eq!(skipped, 0);
            watch.look(&ping);
            assert!(is_flood.get(), "{size}");
        }
        // With the next tick the count begins anew.
        let is_flood: Rc<Cell<bool>> = Rc::default();
        let clock = Rc::new(Clock::new(&Limits::default()));
        let mut watch = Watch::new((), Rc::clone(&clock), Rc::clone(&is_flood));
        watch.look(&bytes);
        clock.advance();
        watch.look(&ping);
        assert!(!is_flood.get());
    }
}
