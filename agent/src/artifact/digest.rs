//! SHA-256 (FIPS 180-4): what an artifact is known by.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use ring::digest::{Context, SHA256};

use super::cancel::Cancelled;

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its sha256 is no SHA-256; give 64 hexadecimal digits, as sha256sum prints them")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadDigest);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| BadDigest)?;
        }
        Ok(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Takes bytes as they come.
#[derive(Clone)]
pub struct Hasher {
    context: Context,
    /// How many it took.
    pub bytes: u64,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({} bytes)", self.bytes)
    }
}

impl Hasher {
    /// It took none yet.
    pub fn new() -> Self {
        Hasher { context: Context::new(&SHA256), bytes: 0 }
    }

    /// Some more.
    pub fn take(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// All that `reader` has, unless it is cancelled.
    pub fn take_all(&mut self, reader: &mut impl Read, cancelled: &Cancelled) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            cancelled.check()?;
            match reader.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.take(&buffer[..n]),
            }
        }
    }

    /// The digest of all that it took.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        Digest(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard_whatever_the_pieces() {
        // FIPS 180-4, examples: "abc".
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut hasher = Hasher::new();
        hasher.take(b"a");
        hasher.take_all(&mut &b"bc"[..], &Cancelled::never()).unwrap();
        assert_eq!(hasher.bytes, 3);
        assert_eq!(hasher.finish().to_string(), known);
        assert_eq!(known.to_uppercase().parse::<Digest>().unwrap().to_string(), known);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(BadDigest), "{bad}");
        }
    }
}
