//! A body on its way: read by the framing of its message, written by that of the next one.

use crate::buffer::Input;
use crate::chunks::{self, Chunks, Malformed, Step};
use crate::framing::Framing;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Its bytes alone.
    Plain,
    /// In chunks.
    Chunked,
}

/// A body that is being read.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunks),
    /// All until the connection ends.
    UntilEnd,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunks::new()),
            Framing::UntilEnd => Body::UntilEnd,
        }
    }

    /// It was read to its end.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) => chunks.has_ended(),
            Body::UntilEnd => false,
        }
    }

    /// The connection has ended; `true`: that is the body's end.
    pub(crate) fn end(&mut self) -> bool {
        let ends = matches!(self, Body::UntilEnd);
        if ends {
            *self = Body::Length(0);
        }
        ends
    }

    /// How many bytes at the front of `input` can go out as they are. They count as read.
    pub(crate) fn take_plain(&mut self, input: &Input) -> usize {
        let there = input.filled().len();
        match self {
            Body::Length(left) => {
                let taken = usize::try_from(*left).map_or(there, |left| left.min(there));
                *left -= taken as u64;
                taken
            }
            Body::UntilEnd => there,
            Body::Chunked(_) => 0,
        }
    }

    /// Moves all that is there of it from `input` to `out`. The end of a chunked coding is written with the end of the body, but for
    /// that of a body that ends with its connection.
    pub(crate) fn transfer(&mut self, input: &mut Input, coding: Coding, out: &mut Vec<u8>) -> Result<(), Malformed> {
        loop {
            let length = match self {
                Body::Chunked(chunks) => match chunks.next(input)? {
                    Step::Data(length) => length,
                    Step::More => return Ok(()),
                    Step::Ended => {
                        if coding == Coding::Chunked {
                            chunks::write_end(out, chunks.trailers());
                        }
                        return Ok(());
                    }
                },
                _ => self.take_plain(input),
            };
            if length == 0 {
                return Ok(());
            }
            let data = &input.filled()[..length];
            match coding {
                Coding::Plain => out.extend_from_slice(data),
                Coding::Chunked => chunks::write_chunk(out, data),
            }
            input.consume(length);
            if matches!(self, Body::Length(0)) {
                return Ok(());
            }
        }
    }
}
