//! The head of a client's request, read strictly and written anew as the head of ours: its target in origin form, its fields those of our
//! own connection.
//!
//! What is not exactly one well-formed request is refused, and the connection ends with it (RFC 9112 sections 2.2, 3, 5 and 6).

use std::mem::MaybeUninit;
use std::ops::Range;

use http::StatusCode;
use httparse::Status;

use crate::client::Client;
use crate::config::{FIELDS_MAX, Limits};
use crate::fields::{self, Connection, Kind};
use crate::framing::{self, Delimiters, Framing};
use crate::last_hop::LastHop;
use crate::problem::Problem;
use crate::request_id::RequestIds;
use crate::target;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/// What must be known of a request beside the head that was written for it.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    /// The method, where it is one of RFC 9110 or 5789.
    pub(crate) method: &'static str,
    pub(crate) path: Range<usize>,
    pub(crate) host: Range<usize>,
    pub(crate) framing: Framing,
    pub(crate) is_http10: bool,
    pub(crate) is_head: bool,
    /// Doing it twice does what doing it once does (RFC 9110 section 9.2.2).
    pub(crate) is_idempotent: bool,
    /// The client would send a further request on its connection.
    pub(crate) keeps_alive: bool,
    /// The client waits to be asked for the body.
    pub(crate) expects_continue: bool,
    /// The client would change to another protocol.
    pub(crate) asks_upgrade: bool,
    /// A cookie that the client is given with its answer, so that its next requests are known.
    pub(crate) set_cookie: Option<String>,
    /// It may not go on: what it is answered here.
    pub(crate) last_hop: Option<LastHop>,
}

impl RequestHead {
    /// The path and the query, in the head that was written.
    pub(crate) fn path_and_query<'a>(&self, written: &'a [u8]) -> &'a str {
        text(written, &self.path)
    }

    /// The path: the very one that is forwarded.
    pub(crate) fn path<'a>(&self, written: &'a [u8]) -> &'a str {
        let path = self.path_and_query(written);
        path.find('?').map_or(path, |at| &path[..at])
    }

    /// The host that the request is for.
    pub(crate) fn host<'a>(&self, written: &'a [u8]) -> &'a str {
        text(written, &self.host)
    }
}

fn text<'a>(written: &'a [u8], range: &Range<usize>) -> &'a str {
    // It was written from a text.
    written.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// What is told of a target that is longer than it may be.
pub(crate) fn target_too_long(limits: &Limits) -> Problem {
    Problem::new(StatusCode::URI_TOO_LONG, format!("the request target is longer than {} bytes", limits.target_bytes_max))
}

/// Reads `head`, which is whole, and writes ours to `out`, which is empty.
pub(crate) fn rewrite(head: &[u8], out: &mut Vec<u8>, client: &Client, limits: &Limits, ids: &RequestIds) -> Result<RequestHead, Problem> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields[..limits.head_fields_max.min(FIELDS_MAX)]) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            let detail = format!("the request has more than {} fields", limits.head_fields_max);
            return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail));
        }
        Err(httparse::Error::Version) if names_other_version(head) => {
            return Err(Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and HTTP/1.0 are served here"));
        }
        Ok(_) => return Err(bad("the head of the request is malformed")),
        Err(error) => return Err(bad(format!("the head of the request is malformed: {error}"))),
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
        return Err(bad("the head of the request is malformed"));
    };
    if method == "CONNECT" {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here: this is no forward proxy"));
    }
    let is_http10 = version == 0;
    if path.len() > limits.target_bytes_max {
        return Err(target_too_long(limits));
    }
    let said = Said::read(request.headers, is_http10)?;
    let hops = said.hops(method)?;
    let last_hop = match (hops, method) {
        (Some(0), "TRACE") => Some(LastHop::trace(head, request.headers)),
        (Some(0), _) => Some(LastHop::Options),
        _ => None,
    };
    let target = target::read(method, path).map_err(|error| bad(error.to_string()))?;

    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let path_from = out.len();
    if target.lacks_slash {
        out.push(b'/');
    }
    out.extend_from_slice(target.path.as_bytes());
    let path = path_from..out.len();
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    let host_from = out.len();
    match (target.authority, said.host) {
        // RFC 9112 section 3.2.2: the target's own host counts, whatever the field says.
        (Some(authority), _) => out.extend_from_slice(authority.as_bytes()),
        (None, Some(host)) => out.extend_from_slice(host),
        // HTTP/1.0 knows requests without: those go to the address that they came to.
        (None, None) => out.extend_from_slice(client.local_text.as_bytes()),
    }
    let host = host_from..out.len();
    out.extend_from_slice(b"\r\n");
    said.write_end_to_end(request.headers, hops.is_some(), out);
    if let Some(hops) = hops {
        fields::write_number(out, b"max-forwards", hops.saturating_sub(1));
    }
    client.origin.write(request.headers, &said.connection, host.clone(), ids, client.version(is_http10), out);
    let framing = said.delimiters.framing(Framing::Length(0));
    match said.delimiters.length {
        Some(length) => fields::write_number(out, b"content-length", length),
        None if framing == Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        None => {}
    }
    let asks_upgrade = said.write_hop(out, is_http10);
    let expects_continue = said.expects_continue && framing != Framing::Length(0);
    if expects_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let Said { connection, .. } = said;
    Ok(RequestHead {
        method: METHODS.into_iter().find(|known| *known == method).unwrap_or("request of this method"),
        path,
        host,
        framing,
        is_http10,
        is_head: method == "HEAD",
        is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
        keeps_alive: !connection.is_close && (!is_http10 || connection.is_keep_alive),
        expects_continue,
        asks_upgrade,
        set_cookie: None,
        last_hop,
    })
}

/// What the fields of a request say to us.
#[derive(Default)]
struct Said<'a> {
    host: Option<&'a [u8]>,
    delimiters: Delimiters,
    connection: Connection<'a>,
    /// The one protocol field; several are as good as none.
    upgrade: Option<&'a [u8]>,
    upgrades: usize,
    takes_trailers: bool,
    expects_continue: bool,
    max_forwards: Option<&'a [u8]>,
    max_forwards_count: usize,
}

impl<'a> Said<'a> {
    fn read(fields: &[httparse::Header<'a>], is_http10: bool) -> Result<Self, Problem> {
        let mut said = Said::default();
        for field in fields {
            match fields::kind(field.name.as_bytes()) {
                Kind::Host if said.host.is_some() => return Err(bad("the request has more than one Host field")),
                Kind::Host if !target::is_host(field.value) => return Err(bad("the Host field is malformed")),
                Kind::Host => said.host = Some(field.value),
                Kind::ContentLength => said.delimiters.content_length(field.value).map_err(|error| bad(error.to_string()))?,
                Kind::TransferEncoding => {
                    said.delimiters.transfer_encoding(field.value, is_http10).map_err(|error| bad(error.to_string()))?;
                }
                Kind::Connection => said.connection.take(field.value).map_err(|error| bad(error.to_string()))?,
                Kind::Te => {
                    let names_trailers = |coding: &[u8]| {
                        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
                        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
                    };
                    said.takes_trailers |= fields::list(field.value).any(names_trailers);
                }
                Kind::MaxForwards => {
                    said.max_forwards = Some(field.value);
                    said.max_forwards_count += 1;
                }
                Kind::Upgrade => {
                    said.upgrade = Some(field.value);
                    said.upgrades += 1;
                }
                // RFC 9110 section 10.1.1: an expectation of HTTP/1.0 is none.
                Kind::Expect if is_http10 => {}
                Kind::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => said.expects_continue = true,
                Kind::Expect => {
                    return Err(Problem::new(StatusCode::EXPECTATION_FAILED, "of all expectations only 100-continue is met here"));
                }
                _ => {}
            }
        }
        if said.host.is_none() && !is_http10 {
            return Err(bad("the request has no Host field"));
        }
        Ok(said)
    }

    /// How many more gateways and servers a request may reach, us not counted; `None`: any number. RFC 9110 section 7.6.2: it is said of
    /// these two methods only.
    fn hops(&self, method: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.max_forwards.filter(|_| matches!(method, "TRACE" | "OPTIONS")) else { return Ok(None) };
        match framing::digits(value) {
            Some(hops) if self.max_forwards_count == 1 => Ok(Some(hops)),
            _ => Err(bad("Max-Forwards is not one number")),
        }
    }

    /// Writes the fields that go through.
    fn write_end_to_end(&self, fields: &[httparse::Header<'a>], counts_hops: bool, out: &mut Vec<u8>) {
        for field in fields {
            let name = field.name.as_bytes();
            let goes_through = match fields::kind(name) {
                Kind::Trailer => true,
                Kind::EndToEnd => !self.connection.names(name),
                Kind::MaxForwards => !counts_hops && !self.connection.names(name),
                _ => false,
            };
            if goes_through {
                fields::write(out, name, field.value);
            }
        }
    }

    /// Writes what concerns our own connection. Returns whether a change of protocol is asked for.
    fn write_hop(&self, out: &mut Vec<u8>, is_http10: bool) -> bool {
        // HTTP/2 in the clear would hide later requests from us.
        let is_h2c = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"h2c");
        let upgrade = self
            .upgrade
            .filter(|protocols| self.upgrades == 1 && self.connection.is_upgrade && !is_http10 && !fields::list(protocols).any(is_h2c));
        if let Some(protocols) = upgrade {
            fields::write(out, b"upgrade", protocols);
            fields::write(out, b"connection", b"upgrade");
        }
        if self.takes_trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        upgrade.is_some()
    }
}

/// Whether the request line of `head` ends with a version that is well formed: one that is not served, then.
fn names_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
        && line.iter().filter(|byte| **byte == b' ').count() == 2
}
