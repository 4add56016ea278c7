//! Where a request came from, as replicas are told: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via` (RFC 9110 section 7.6.3) and
//! `X-Request-Id`.
//!
//! From a peer that is not trusted nothing of it goes on: all is what we saw ourselves. A trusted proxy is believed, and we add to its lists.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use httparse::Header;

use crate::fields::{self, Connection, Kind};
use crate::request_id::RequestIds;

const FOR: &str = "x-forwarded-for: ";
const FORWARDED: &str = "\r\nforwarded: for=";
const HOST: &str = ";host=\"";
/// The longest id that is taken over.
const ID_BYTES_MAX: usize = 128;

/// The peer of a connection as its requests' fields name it. The text is made once for each connection.
#[derive(Debug)]
pub(crate) struct Origin {
    is_trusted: bool,
    /// The fields of an untrusted peer's request, up to the host in the second of them.
    lead: String,
    address: Range<usize>,
    /// The peer in `Forwarded`: an address of IPv6 is in brackets, and so in quotes (RFC 7239 section 6).
    node: Range<usize>,
}

impl Origin {
    pub(crate) fn new(peer: IpAddr, is_trusted: bool) -> Self {
        let peer = peer.to_canonical();
        let mut lead = Vec::with_capacity(128);
        lead.extend_from_slice(FOR.as_bytes());
        // Writing to a vector cannot fail.
        let _ = write!(lead, "{peer}");
        let address = FOR.len()..lead.len();
        let from = lead.len() + FORWARDED.len();
        let _ = match peer {
            IpAddr::V4(v4) => write!(lead, "{FORWARDED}{v4}{HOST}"),
            IpAddr::V6(v6) => write!(lead, "{FORWARDED}\"[{v6}]\"{HOST}"),
        };
        let node = from..lead.len() - HOST.len();
        Origin { is_trusted, lead: String::from_utf8(lead).unwrap_or_default(), address, node }
    }

    /// Writes what replicas are told of the origin of a request with these fields. `host` is where `out` names the host that it is for: a
    /// host has no character that must be escaped in quotes.
    pub(crate) fn write(
        &self,
        fields: &[Header<'_>],
        connection: &Connection<'_>,
        host: Range<usize>,
        ids: &RequestIds,
        version: &str,
        out: &mut Vec<u8>,
    ) {
        if self.is_trusted {
            self.write_believed(&Claims { fields, connection }, host, ids, out);
        } else {
            out.extend_from_slice(self.lead.as_bytes());
            out.extend_from_within(host.clone());
            out.extend_from_slice(b"\";proto=http\r\nx-forwarded-host: ");
            out.extend_from_within(host);
            out.extend_from_slice(b"\r\nx-forwarded-proto: http\r\n");
            ids.write(out);
        }
        // Behind those of the client: a field that is a list goes on from line to line (RFC 9110 section 5.3).
        out.extend_from_slice(b"via: ");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b" ostler\r\n");
    }

    fn write_believed(&self, claims: &Claims<'_, '_>, host: Range<usize>, ids: &RequestIds, out: &mut Vec<u8>) {
        // One line each, since many programs read one only.
        out.extend_from_slice(FOR.as_bytes());
        claims.write_list(Kind::ForwardedFor, out);
        out.extend_from_slice(self.lead[self.address.clone()].as_bytes());
        out.extend_from_slice(b"\r\nforwarded: ");
        claims.write_list(Kind::Forwarded, out);
        out.extend_from_slice(b"for=");
        out.extend_from_slice(self.lead[self.node.clone()].as_bytes());
        out.extend_from_slice(HOST.as_bytes());
        out.extend_from_within(host.clone());
        out.extend_from_slice(b"\";proto=http\r\nx-forwarded-host: ");
        match claims.only(Kind::ForwardedHost) {
            Some(value) => out.extend_from_slice(value),
            None => out.extend_from_within(host),
        }
        out.extend_from_slice(b"\r\nx-forwarded-proto: ");
        out.extend_from_slice(claims.only(Kind::ForwardedProto).unwrap_or(b"http"));
        out.extend_from_slice(b"\r\n");
        for field in claims.of(Kind::ForwardedOther) {
            fields::write(out, field.name.as_bytes(), field.value);
        }
        match claims.only(Kind::RequestId).filter(|id| is_id(id)) {
            Some(id) => fields::write(out, b"x-request-id", id),
            None => ids.write(out),
        }
    }
}

/// What a trusted proxy says.
struct Claims<'f, 'b> {
    fields: &'f [Header<'b>],
    connection: &'f Connection<'b>,
}

impl<'f, 'b> Claims<'f, 'b> {
    /// The fields of a kind that say something.
    fn of(&self, kind: Kind) -> impl Iterator<Item = &'f Header<'b>> {
        let is_meant = move |field: &&Header<'_>| {
            let name = field.name.as_bytes();
            fields::kind(name) == kind && !field.value.is_empty() && !self.connection.names(name)
        };
        self.fields.iter().filter(is_meant)
    }

    /// What the one field of a kind says; several contradict each other.
    fn only(&self, kind: Kind) -> Option<&'b [u8]> {
        let mut fields = self.of(kind);
        let first = fields.next()?;
        fields.next().is_none().then_some(first.value)
    }

    /// Writes the lists of a kind as the beginning of one.
    fn write_list(&self, kind: Kind, out: &mut Vec<u8>) {
        for field in self.of(kind).filter(|field| ends_outside_of_quotes(field.value)) {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
}

/// Whether what is written behind `value` is not within its quotes (RFC 9110 section 5.6.4): a proxy may have passed on what its client made up.
fn ends_outside_of_quotes(value: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for byte in value {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
    }
    !is_quoted
}

/// Whether this can be an id, wherever it is written later.
fn is_id(value: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    (1..=ID_BYTES_MAX).contains(&value.len()) && value.iter().all(fits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_of_ipv6_is_in_brackets_and_quotes() {
        let text = |peer: &str| {
            let origin = Origin::new(peer.parse().unwrap(), true);
            (origin.lead[origin.address.clone()].to_owned(), origin.lead[origin.node.clone()].to_owned())
        };
        assert_eq!(text("192.0.2.1"), ("192.0.2.1".to_owned(), "192.0.2.1".to_owned()));
        assert_eq!(text("::ffff:192.0.2.1"), ("192.0.2.1".to_owned(), "192.0.2.1".to_owned()));
        assert_eq!(text("2001:db8::1"), ("2001:db8::1".to_owned(), "\"[2001:db8::1]\"".to_owned()));
    }

    #[test]
    fn what_is_added_to_a_list_is_not_within_its_quotes() {
        for whole in ["", "for=a", "for=\"[::1]\"", r#"for="a\"b", for=c"#, r"for=a\"] {
            assert!(ends_outside_of_quotes(whole.as_bytes()), "{whole}");
        }
        for open in ["for=\"a", r#"for="a\""#, "\"\"\""] {
            assert!(!ends_outside_of_quotes(open.as_bytes()), "{open}");
        }
    }
}
