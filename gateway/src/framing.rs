//! Where the body of a message ends: RFC 9112 section 6, with one reading only.
//!
//! A message whose length can be read in two ways is refused: `Content-Length` beside `Transfer-Encoding`, either of them twice (equal
//! values too), a length that is not digits alone, a coding other than exactly `chunked`, a coding in HTTP/1.0.

/// The longest body: many programs keep its length in 63 bits and a sign.
pub(crate) const LENGTH_MAX: u64 = i64::MAX as u64;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection; answers only.
    UntilEnd,
}

/// Why the length of a message is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is more than one Content-Length")]
    SeveralLengths,
    #[error("Content-Length is not a number, or too large")]
    BadLength,
    #[error("there is more than one Transfer-Encoding")]
    SeveralCodings,
    #[error("Transfer-Encoding is not exactly \"chunked\"")]
    BadCoding,
    #[error("there is Content-Length beside Transfer-Encoding")]
    Both,
    #[error("there is Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
}

/// What the fields of a head say of its body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delimiters {
    pub(crate) length: Option<u64>,
    pub(crate) is_chunked: bool,
}

impl Delimiters {
    /// Takes a `Content-Length`.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.length.is_some() {
            return Err(Error::SeveralLengths);
        }
        if self.is_chunked {
            return Err(Error::Both);
        }
        self.length = Some(digits(value).ok_or(Error::BadLength)?);
        Ok(())
    }

    /// Takes a `Transfer-Encoding`.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8], is_http10: bool) -> Result<(), Error> {
        if is_http10 {
            return Err(Error::CodingInHttp10);
        }
        if self.is_chunked {
            return Err(Error::SeveralCodings);
        }
        if self.length.is_some() {
            return Err(Error::Both);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Error::BadCoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// The framing; `without` is that of a message that says nothing.
    pub(crate) fn framing(self, without: Framing) -> Framing {
        match self.length {
            _ if self.is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => without,
        }
    }
}

/// A number that is digits alone: no sign, no space, no overflow.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let number = value.iter().try_fold(0u64, |sum, byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    });
    number.filter(|number| *number <= LENGTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_alone() {
        assert_eq!(digits(b"0"), Some(0));
        assert_eq!(digits(b"9223372036854775807"), Some(LENGTH_MAX));
        for bad in [
            "9223372036854775808",
            "18446744073709551615",
            "",
            "+1",
            "-1",
            "1 ",
            " 1",
            "0x1",
            "1_0",
            "1,1",
            "18446744073709551616",
            "99999999999999999999999",
            "1.0",
            "\u{661}",
        ] {
            assert_eq!(digits(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_message_has_one_length_or_is_refused() {
        let read = |fields: &[(&str, &str)]| {
            let mut delimiters = Delimiters::default();
            for (name, value) in fields {
                match *name {
                    "cl" => delimiters.content_length(value.as_bytes())?,
                    _ => delimiters.transfer_encoding(value.as_bytes(), false)?,
                }
            }
            Ok(delimiters.framing(Framing::Length(0)))
        };
        assert_eq!(read(&[]), Ok(Framing::Length(0)));
        assert_eq!(read(&[("cl", "5")]), Ok(Framing::Length(5)));
        assert_eq!(read(&[("te", "Chunked")]), Ok(Framing::Chunked));
        assert_eq!(read(&[("cl", "5"), ("cl", "5")]), Err(Error::SeveralLengths));
        assert_eq!(read(&[("cl", "5"), ("te", "chunked")]), Err(Error::Both));
        assert_eq!(read(&[("te", "chunked"), ("cl", "5")]), Err(Error::Both));
        assert_eq!(read(&[("te", "chunked"), ("te", "chunked")]), Err(Error::SeveralCodings));
        for coding in ["gzip, chunked", "chunked, identity", "identity", "", "xchunked", "chunked;a", "\"chunked\""] {
            assert_eq!(read(&[("te", coding)]), Err(Error::BadCoding), "{coding:?}");
        }
        assert_eq!(Delimiters::default().transfer_encoding(b"chunked", true), Err(Error::CodingInHttp10));
    }
}
