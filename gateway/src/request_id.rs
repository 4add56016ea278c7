//! Ids for requests.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Makes ids that are told apart from those of other threads and other gateways by a random first half. They are names, no secrets.
#[derive(Debug)]
pub(crate) struct RequestIds {
    first: u64,
    next: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        RequestIds { first: RandomState::new().hash_one("request"), next: Cell::new(0) }
    }

    /// Writes a field with a new id: 32 hexadecimal digits.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let second = self.next.get();
        self.next.set(second.wrapping_add(1));
        out.extend_from_slice(b"x-request-id: ");
        for half in [self.first, second] {
            let digit = |shift: u32| b"0123456789abcdef"[(half >> shift & 15) as usize];
            out.extend((0..16).rev().map(|at| digit(at * 4)));
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ids_are_equal() {
        let ids = RequestIds::new();
        let mut written = Vec::new();
        for _ in 0..3 {
            ids.write(&mut written);
        }
        RequestIds::new().write(&mut written);
        let mut lines: Vec<&[u8]> = written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.len() == "x-request-id: ".len() + 32 + 1));
    }
}
