//! The chunked coding (RFC 9112 section 7.1), read strictly and written anew.
//!
//! A size is hexadecimal digits alone, every line ends with CRLF, extensions are dropped and bounded (CVE-2023-39326: what is
//! read and thrown away costs too), trailers are bounded, and what must not stand there is taken out.

use std::io::Write;

use crate::buffer::Input;
use crate::fields::{self, Kind};
use crate::framing::LENGTH_MAX;
use crate::head::{self, Found};

/// The most bytes of extensions in one body.
const EXTENSION_BYTES_MAX: usize = 8 * 1024;
/// The most bytes and fields of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 64;
/// The most digits of a size: those of 64 bits.
const DIGITS_MAX: u8 = 16;

/// The body does not follow the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are malformed")]
pub(crate) struct Malformed;

/// A chunked body that is being read.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    extension_bytes: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers { scanned: usize },
    Ended,
}

/// What is at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the body; the caller consumes them.
    Data(usize),
    /// Nothing whole; more is to be read.
    More,
    /// The body was read to its end.
    Ended,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Chunks { state: State::Size { size: 0, digits: 0 }, extension_bytes: 0, trailers: Vec::new() }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The trailers that may go on, as lines of a head; there once the body has ended.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads on, and consumes what is no data.
    pub(crate) fn next(&mut self, input: &mut Input) -> Result<Step, Malformed> {
        let bytes = input.filled();
        let mut at = 0;
        let step = loop {
            if let State::Trailers { scanned } = &mut self.state {
                match head::find_end(&bytes[at..], scanned) {
                    Found::End(length) => {
                        if length > TRAILER_BYTES_MAX {
                            return Err(Malformed);
                        }
                        if length > 2 {
                            self.trailers = read_trailers(&bytes[at..at + length])?;
                        }
                        at += length;
                        self.state = State::Ended;
                    }
                    Found::Partial if bytes.len() - at <= TRAILER_BYTES_MAX => break Step::More,
                    Found::Partial | Found::BareLf => return Err(Malformed),
                }
            }
            if self.has_ended() {
                break Step::Ended;
            }
            let Some(byte) = bytes.get(at).copied() else { break Step::More };
            if let State::Data { left } = self.state {
                let length = usize::try_from(left).map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                let left = left - length as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                break Step::Data(length);
            }
            self.state = self.after(byte)?;
            at += 1;
        };
        input.consume(at);
        Ok(step)
    }

    /// The state after a byte that is no data.
    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) if digits < DIGITS_MAX && byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                let size = size << 4 | u64::from(digit);
                if size > LENGTH_MAX { Err(Malformed) } else { Ok(State::Size { size, digits: digits + 1 }) }
            }
            (State::Size { size, digits: 1.. }, b';') => Ok(State::Extension { size }),
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) if self.extension_bytes < EXTENSION_BYTES_MAX => {
                self.extension_bytes += 1;
                Ok(State::Extension { size })
            }
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailers { scanned: 0 }),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            _ => Err(Malformed),
        }
    }
}

/// The trailers that may go on (RFC 9110 section 6.5.1: nothing of framing, routing or the connection).
fn read_trailers(section: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let Ok(httparse::Status::Complete((length, fields))) = httparse::parse_headers(section, &mut fields) else { return Err(Malformed) };
    if length != section.len() {
        return Err(Malformed);
    }
    let mut trailers = Vec::with_capacity(section.len());
    for field in fields {
        let name = field.name.as_bytes();
        if fields::kind(name) == Kind::EndToEnd && !fields::is_head_only(name) {
            fields::write(&mut trailers, name, field.value);
        }
    }
    Ok(trailers)
}

/// Writes a chunk; `data` is not empty.
pub(crate) fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body.
pub(crate) fn write_end(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}
