//! Taking the prefix of a route off the path of a request, and putting it back: the next replica may be found by another table.
//!
//! What is left of the path stays as it is, byte for byte; where nothing is left it is `/`. The replica is told of the prefix in
//! `X-Forwarded-Prefix`, behind what a trusted proxy said there: a program joins them in this order.

use crate::request::RequestHead;

const FIELD: &[u8] = b"x-forwarded-prefix: ";

/// What was changed in a head.
#[derive(Debug)]
pub(crate) struct Stripped {
    /// What was taken out, from here on.
    path: Vec<u8>,
    at: usize,
    /// The field that was put in.
    field: std::ops::Range<usize>,
}

impl RequestHead {
    /// Takes `count` bytes off the front of the path in the head that was written, which is `head_bytes` long. `None`: the path is shorter.
    pub(crate) fn strip_path(&mut self, count: usize, head_bytes: usize, written: &mut Vec<u8>) -> Option<Stripped> {
        let prefix = self.path.start..self.path.start + count;
        let bytes = written.get(prefix.clone())?.to_vec();
        if prefix.end > self.path.end {
            return None;
        }
        // The field stands in front of the empty line.
        let end = head_bytes.checked_sub(2)?;
        let field: Vec<u8> = [FIELD, &bytes, b"\r\n"].concat();
        let length = field.len();
        written.splice(end..end, field);
        // A `/` is left in front of a query, and where nothing is.
        let from = if written.get(prefix.end) == Some(&b'/') { prefix.start } else { prefix.start + 1 };
        let path: Vec<u8> = written.drain(from..prefix.end).collect();
        let taken = path.len();
        self.path.end -= taken;
        self.host = self.host.start - taken..self.host.end - taken;
        Some(Stripped { path, at: from, field: end - taken..end - taken + length })
    }

    /// Undoes it.
    pub(crate) fn restore_path(&mut self, stripped: &Stripped, written: &mut Vec<u8>) {
        if stripped.field.end > written.len() {
            return;
        }
        written.drain(stripped.field.clone());
        let back = stripped.path.len();
        written.splice(stripped.at..stripped.at, stripped.path.iter().copied());
        self.path.end += back;
        self.host = self.host.start + back..self.host.end + back;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::framing::Framing;

    fn head(written: &str) -> RequestHead {
        let find = |text: &str, from: usize| written[from..].find(text).unwrap() + from;
        let path = find(" ", 0) + 1..find(" HTTP/1.1", 0);
        let host = find("host: ", 0) + 6..find("\r\n", find("host: ", 0));
        RequestHead {
            method: "GET",
            path,
            host,
            framing: Framing::Length(0),
            is_http10: false,
            is_head: false,
            is_idempotent: true,
            keeps_alive: true,
            expects_continue: false,
            asks_upgrade: false,
            set_cookie: None,
            last_hop: None,
        }
    }

    #[test]
    fn a_prefix_is_taken_off_and_put_back() {
        for (path, left) in [
            ("/api/x", "/x"),
            ("/api", "/"),
            ("/api/", "/"),
            ("/api?q=/api", "/?q=/api"),
            ("/api//x", "//x"),
            ("/api/%2F%41?a=1", "/%2F%41?a=1"),
        ] {
            let whole = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-a: b\r\n\r\nbody");
            let (mut written, mut head) = (whole.clone().into_bytes(), head(&whole));
            let stripped = head.strip_path(4, written.len() - 4, &mut written).unwrap();
            let expected = format!("GET {left} HTTP/1.1\r\nhost: a.test\r\nx-a: b\r\nx-forwarded-prefix: /api\r\n\r\nbody");
            assert_eq!(String::from_utf8(written.clone()).unwrap(), expected);
            assert_eq!((head.path_and_query(&written), head.host(&written)), (left, "a.test"));
            head.restore_path(&stripped, &mut written);
            assert_eq!(String::from_utf8(written.clone()).unwrap(), whole);
            assert_eq!((head.path_and_query(&written), head.host(&written)), (path, "a.test"));
        }
    }
}
