//! Finding the end of a head, strictly: every line ends with CRLF.
//!
//! RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end. Where one does and the next does not, two requests become one
//! or one becomes two; so none is taken. A CR elsewhere is refused by httparse.

/// What is there of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It ends before this offset.
    End(usize),
    /// There is no end yet.
    Partial,
    /// A line ends with LF alone.
    BareLf,
}

/// Looks for the empty line that ends a head. `scanned`: how much of `bytes` was looked at before; kept for the next call.
pub(crate) fn find_end(bytes: &[u8], scanned: &mut usize) -> Found {
    let mut from = *scanned;
    while let Some(at) = memchr::memchr(b'\n', &bytes[from..]).map(|at| at + from) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Found::BareLf;
        }
        if at == 1 || (at >= 3 && bytes[at - 2] == b'\n') {
            return Found::End(at + 1);
        }
        from = at + 1;
    }
    *scanned = bytes.len();
    Found::Partial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_line_after_crlf_ends_a_head() {
        for (bytes, found) in [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest".as_slice(), Found::End(27)),
            (b"\r\n", Found::End(2)),
            (b"GET / HTTP/1.1\r\n\r", Found::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Found::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Found::BareLf),
            (b"\n", Found::BareLf),
            (b"", Found::Partial),
        ] {
            assert_eq!(find_end(bytes, &mut 0), found, "{bytes:?}");
        }
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_were_parted() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for first in 0..whole.len() {
            let mut scanned = 0;
            assert_eq!(find_end(&whole[..first], &mut scanned), Found::Partial);
            assert_eq!(find_end(whole, &mut scanned), Found::End(whole.len()));
        }
    }
}
