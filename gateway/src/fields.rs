//! Header fields: which go through a gateway, and which do not.
//!
//! RFC 9110 section 7.6.1: what concerns one connection is taken out of a message before it is forwarded, and so is what `Connection`
//! names; ours are added last, so that a client cannot have them removed (CVE-2024-45410). What a client says about
//! where its request came from is told apart here, and judged in [`crate::origin`].

/// What a field is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes through.
    EndToEnd,
    /// It tells the request from others.
    RequestId,
    /// How far a TRACE or OPTIONS may go.
    MaxForwards,
    /// What a proxy says of where the request came from.
    Forwarded,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    ForwardedOther,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Upgrade,
    Expect,
    Trailer,
    /// Of one connection, and of no use to us.
    Hop,
    /// What a program could take for another field.
    Claim,
}

/// What a field of this name is to us.
pub(crate) fn kind(name: &[u8]) -> Kind {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is(b"te") => Kind::Te,
        4 if is(b"host") => Kind::Host,
        // CVE-2016-5385: programs of CGI's kind take it for the variable HTTP_PROXY.
        5 if is(b"proxy") => Kind::Claim,
        6 if is(b"expect") => Kind::Expect,
        7 if is(b"upgrade") => Kind::Upgrade,
        7 if is(b"trailer") => Kind::Trailer,
        9 if is(b"forwarded") => Kind::Forwarded,
        10 if is(b"connection") => Kind::Connection,
        10 if is(b"keep-alive") => Kind::Hop,
        12 if is(b"max-forwards") => Kind::MaxForwards,
        12 if is(b"x-request-id") => Kind::RequestId,
        12 if is(b"x_request_id") || is(b"x_request-id") || is(b"x-request_id") => Kind::Claim,
        14 if is(b"content-length") => Kind::ContentLength,
        14 if is(b"content_length") => Kind::Claim,
        14 if is(b"http2-settings") => Kind::Hop,
        16 if is(b"proxy-connection") => Kind::Hop,
        17 if is(b"transfer-encoding") => Kind::TransferEncoding,
        17 if is(b"transfer_encoding") => Kind::Claim,
        12.. if is_forwarded(name) => match name {
            // CGI's kind of programs take both spellings for one.
            _ if name.contains(&b'_') => Kind::Claim,
            _ if is(b"x-forwarded-for") => Kind::ForwardedFor,
            _ if is(b"x-forwarded-host") => Kind::ForwardedHost,
            _ if is(b"x-forwarded-proto") => Kind::ForwardedProto,
            _ => Kind::ForwardedOther,
        },
        _ => Kind::EndToEnd,
    }
}

/// x-forwarded-anything, whatever stands for the hyphens.
fn is_forwarded(name: &[u8]) -> bool {
    let (Some(word), Some(b'-' | b'_'), Some(b'-' | b'_')) = (name.get(2..11), name.get(1), name.get(11)) else { return false };
    name[0].eq_ignore_ascii_case(&b'x') && word.eq_ignore_ascii_case(b"forwarded")
}

/// What counts in a head alone: who asks, what is asked of a request or a cache, what a body is. In a trailer it would come too late, or be
/// taken for a head's by whoever merges them (RFC 9110 section 6.5.1).
pub(crate) fn is_head_only(name: &[u8]) -> bool {
    const NAMES: [&str; 28] = [
        "accept-ranges",
        "age",
        "authorization",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "retry-after",
        "set-cookie",
        "vary",
        "warning",
        "www-authenticate",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The elements of a list (RFC 9110 section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(|element| element.trim_ascii()).filter(|element| !element.is_empty())
}

/// The values of a field in a head that was written here.
pub(crate) fn all<'a>(head: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = head.split(|byte| *byte == b'\n').skip(1).take_while(|line| *line != b"\r");
    lines.filter_map(move |line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

/// The first value of a field in a head that was written here.
pub(crate) fn find<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    all(head, name).next()
}

/// How many fields `Connection` may name in one message.
const NAMED_MAX: usize = 32;

/// `Connection` names more fields than anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Connection names more than {NAMED_MAX} fields")]
pub(crate) struct TooManyNamed;

/// What the `Connection` fields of a message say.
#[derive(Debug, Default)]
pub(crate) struct Connection<'a> {
    pub(crate) is_close: bool,
    pub(crate) is_keep_alive: bool,
    pub(crate) is_upgrade: bool,
    named: [&'a [u8]; NAMED_MAX],
    named_count: usize,
}

impl<'a> Connection<'a> {
    /// Takes one field.
    pub(crate) fn take(&mut self, value: &'a [u8]) -> Result<(), TooManyNamed> {
        for option in list(value) {
            let is = |other: &[u8]| option.eq_ignore_ascii_case(other);
            if is(b"close") {
                self.is_close = true;
            } else if is(b"keep-alive") {
                self.is_keep_alive = true;
            } else if is(b"upgrade") {
                self.is_upgrade = true;
            } else if self.named_count == NAMED_MAX {
                return Err(TooManyNamed);
            } else {
                self.named[self.named_count] = option;
                self.named_count += 1;
            }
        }
        Ok(())
    }

    /// A field of this name concerns the connection alone.
    pub(crate) fn names(&self, name: &[u8]) -> bool {
        self.named[..self.named_count].iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

/// Writes a field.
pub(crate) fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a field whose value is a number.
pub(crate) fn write_number(out: &mut Vec<u8>, name: &[u8], mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit is less than 10.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    write(out, name, &digits[at..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_client_claims_of_its_origin_is_known_however_it_is_spelled() {
        for name in ["x_forwarded_for", "x-forwarded_proto", "X_FORWARDED-PORT", "X_Request_Id", "x-request_id", "Proxy", "Content_Length"]
        {
            assert_eq!(kind(name.as_bytes()), Kind::Claim, "{name}");
        }
        for (name, expected) in [
            ("X-Forwarded-For", Kind::ForwardedFor),
            ("x-forwarded-HOST", Kind::ForwardedHost),
            ("X-Forwarded-Proto", Kind::ForwardedProto),
            ("X-Forwarded-Port", Kind::ForwardedOther),
            ("Forwarded", Kind::Forwarded),
            ("X-Request-Id", Kind::RequestId),
        ] {
            assert_eq!(kind(name.as_bytes()), expected, "{name}");
        }
        for name in ["x-forwardedness", "x-forwarded", "forwarded-for", "xforwarded-for-", "accept", "x"] {
            assert_eq!(kind(name.as_bytes()), Kind::EndToEnd, "{name}");
        }
        assert_eq!(kind(b"Transfer-ENCODING"), Kind::TransferEncoding);
        assert_eq!(kind(b"tE"), Kind::Te);
    }

    #[test]
    fn connection_names_fields_and_says_what_becomes_of_it() {
        let mut connection = Connection::default();
        connection.take(b"keep-alive , X-Secret,,").unwrap();
        connection.take(b"Close,upgrade, te").unwrap();
        assert!(connection.is_close && connection.is_keep_alive && connection.is_upgrade);
        assert!(connection.names(b"x-secret") && connection.names(b"TE") && !connection.names(b"close"));
        let many = "a,".repeat(NAMED_MAX + 1);
        assert_eq!(Connection::default().take(many.as_bytes()), Err(TooManyNamed));
    }

    #[test]
    fn a_field_is_found_in_the_head_and_not_behind_it() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nX-A: 1\r\nx-ab: 2\r\nx-a: 3\r\n\r\nx-a: 4\r\n";
        assert_eq!(all(head, b"x-a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(find(head, b"x-b"), None);
        assert_eq!(find(b"", b"x"), None);
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 1_234, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, b"n", number);
            assert_eq!(out, format!("n: {number}\r\n").into_bytes());
        }
    }
}
