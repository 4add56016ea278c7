//! Memory for bytes on their way, lent to connections only while they hold some: an idle connection has none.
//!
//! Absent from here: what the bytes mean.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// The size of a lent buffer; a head that needs more gets a larger one of its own.
pub(crate) const BUFFER_BYTES: usize = 32 * 1024;
/// The most memory in an output that is taken back.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;
/// The most buffers of one kind that a thread keeps for the next user.
const SPARE_MAX: usize = 128;

/// The spare buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    inputs: RefCell<Vec<Buffer>>,
    outputs: RefCell<Vec<Vec<u8>>>,
}

/// Bytes that were read and not used: those from `start` to `end`.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(size: usize) -> Self {
        Buffer { bytes: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }
}

/// What was read from a connection and is not used yet.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: Option<Buffer>,
    spare: Rc<Buffers>,
}

impl Input {
    /// An empty one, without memory.
    pub(crate) fn new(spare: &Rc<Buffers>) -> Self {
        Input { buffer: None, spare: Rc::clone(spare) }
    }

    /// The unused bytes.
    pub(crate) fn filled(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.bytes[buffer.start..buffer.end])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| buffer.start == buffer.end)
    }

    /// The first `count` bytes were used.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(buffer) = &mut self.buffer {
            buffer.start = (buffer.start + count).min(buffer.end);
            if buffer.start == buffer.end {
                (buffer.start, buffer.end) = (0, 0);
            }
        }
    }

    /// There is no room for more bytes behind the unused ones.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.end - buffer.start == buffer.bytes.len())
    }

    /// Makes room for `size` bytes in all.
    pub(crate) fn grow(&mut self, size: usize) {
        if self.buffer.as_ref().is_some_and(|buffer| buffer.bytes.len() >= size) {
            return;
        }
        let mut larger = Buffer::new(size);
        let filled = self.filled();
        larger.end = filled.len();
        larger.bytes[..filled.len()].copy_from_slice(filled);
        self.buffer = Some(larger);
    }

    /// Reads once. While nothing is there, no memory is held. `Ok(0)`: the end, or no room ([`Input::is_full`]).
    pub(crate) fn poll_fill(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buffer = self.buffer.get_or_insert_with(|| self.spare.inputs.borrow_mut().pop().unwrap_or_else(|| Buffer::new(BUFFER_BYTES)));
        if buffer.end == buffer.bytes.len() && buffer.start > 0 {
            buffer.bytes.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
        }
        let mut space = ReadBuf::new(&mut buffer.bytes[buffer.end..]);
        let polled = Pin::new(io).poll_read(cx, &mut space);
        let count = space.filled().len();
        buffer.end += count;
        if !matches!(polled, Poll::Ready(Ok(()))) || count == 0 {
            self.release();
        }
        polled.map_ok(|()| count)
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty()
            && let Some(buffer) = self.buffer.take()
            && buffer.bytes.len() == BUFFER_BYTES
        {
            let mut spare = self.spare.inputs.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(buffer);
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.consume(usize::MAX / 2);
        self.release();
    }
}

/// Bytes that go out. What was sent stays until it is cleared, so that it can be sent again.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    spare: Rc<Buffers>,
}

impl Output {
    /// An empty one, without memory.
    pub(crate) fn new(spare: &Rc<Buffers>) -> Self {
        Output { bytes: Vec::new(), sent: 0, spare: Rc::clone(spare) }
    }

    /// All bytes, to add to.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.spare.outputs.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2_048));
        }
        &mut self.bytes
    }

    /// All bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that were not sent.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// `count` more bytes were sent.
    pub(crate) fn did_send(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
    }

    /// All is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Forgets the bytes.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// Forgets the bytes, and gives the memory back.
    pub(crate) fn release(&mut self) {
        self.clear();
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 && bytes.capacity() <= OUTPUT_BYTES_MAX {
            let mut spare = self.spare.outputs.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(bytes);
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use super::*;

    fn fill(input: &mut Input, mut from: &[u8]) -> usize {
        match input.poll_fill(&mut from, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => unreachable!(),
        }
    }

    #[test]
    fn memory_is_held_only_while_bytes_are() {
        let spare: Rc<Buffers> = Rc::default();
        let mut input = Input::new(&spare);
        assert_eq!(fill(&mut input, b""), 0);
        assert!(input.buffer.is_none());
        assert_eq!(fill(&mut input, b"abc"), 3);
        assert_eq!(spare.inputs.borrow().len(), 0);
        input.consume(2);
        assert_eq!(fill(&mut input, b"de"), 2);
        assert_eq!(input.filled(), b"cde");
        input.consume(3);
        input.release();
        assert_eq!(spare.inputs.borrow().len(), 1);
        let mut output = Output::new(&spare);
        output.bytes().extend(b"xyz");
        output.did_send(2);
        assert_eq!(output.pending(), b"z");
        drop(output);
        assert_eq!(spare.outputs.borrow().len(), 1);
    }

    #[test]
    fn room_is_made_at_the_front_and_grown() {
        let spare: Rc<Buffers> = Rc::default();
        let mut input = Input::new(&spare);
        let block = vec![b'x'; BUFFER_BYTES];
        assert_eq!(fill(&mut input, &block), BUFFER_BYTES);
        assert!(input.is_full());
        assert_eq!(fill(&mut input, b"y"), 0);
        input.consume(10);
        assert_eq!(fill(&mut input, b"y"), 1);
        assert_eq!(input.filled().len(), BUFFER_BYTES - 9);
        input.grow(2 * BUFFER_BYTES);
        assert_eq!(input.filled().last(), Some(&b'y'));
        assert!(!input.is_full());
        drop(input);
        assert!(spare.inputs.borrow().is_empty(), "a grown buffer is not kept");
    }
}
