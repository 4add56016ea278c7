//! The head of a replica's answer, read strictly and written anew for the client.
//!
//! An answer that is not exactly one well-formed message is none: the client gets a 502 (RFC 9112 section 6.3 for doubtful lengths).

use std::mem::MaybeUninit;

use http::StatusCode;
use httparse::Status;

use crate::body::Coding;
use crate::clock::Date;
use crate::config::FIELDS_MAX;
use crate::fields::{self, Connection, Kind};
use crate::framing::{Delimiters, Framing};
use crate::request::RequestHead;

/// What a replica sent is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadAnswer(pub(crate) String);

/// What must be known of an answer beside the head that was written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    /// How its body is read.
    pub(crate) framing: Framing,
    /// How its body is written.
    pub(crate) coding: Coding,
    /// The replica takes another request on its connection, once this answer was read.
    pub(crate) keeps_replica: bool,
    /// The client may send another request on its connection, once this answer was written.
    pub(crate) keeps_client: bool,
}

impl AnswerHead {
    /// Another answer follows it.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Reads `head`, which is whole, and adds ours to `out`. `keeps_client`: the client's connection may live on.
pub(crate) fn rewrite(
    head: &[u8],
    request: &RequestHead,
    keeps_client: bool,
    fields_max: usize,
    date: &Date,
    out: &mut Vec<u8>,
) -> Result<AnswerHead, BadAnswer> {
    let bad = |detail: &str| BadAnswer(detail.to_owned());
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut answer, head, &mut fields[..fields_max.min(FIELDS_MAX)]) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(bad("its head is malformed")),
        Err(error) => return Err(BadAnswer(format!("its head is malformed: {error}"))),
    }
    let (Some(version), Some(status)) = (answer.version, answer.code) else { return Err(bad("its head is malformed")) };
    if !(100..600).contains(&status) {
        return Err(BadAnswer(format!("its status is {status}")));
    }
    let is_http10 = version == 0;
    let mut delimiters = Delimiters::default();
    let mut connection = Connection::default();
    for field in &*answer.headers {
        let doubtful = |error: crate::framing::Error| BadAnswer(error.to_string());
        match fields::kind(field.name.as_bytes()) {
            Kind::ContentLength => delimiters.content_length(field.value).map_err(doubtful)?,
            Kind::TransferEncoding => delimiters.transfer_encoding(field.value, is_http10).map_err(doubtful)?,
            Kind::Connection => connection.take(field.value).map_err(|error| BadAnswer(error.to_string()))?,
            _ => {}
        }
    }
    let is_interim = (100..200).contains(&status);
    // RFC 9110 section 6.4.1: these have no body, whatever their fields say.
    let is_bodiless = request.is_head || is_interim || status == 204 || status == 304;
    let framing = if is_bodiless { Framing::Length(0) } else { delimiters.framing(Framing::UntilEnd) };
    // Where the client cannot be told the length, the end of its connection tells it.
    let is_lengthless = matches!(framing, Framing::Chunked | Framing::UntilEnd);
    let keeps_client = keeps_client && !(is_lengthless && request.is_http10);
    let coding = if is_lengthless && !request.is_http10 { Coding::Chunked } else { Coding::Plain };

    // RFC 9112 section 2.3: the version is the one that we speak, whatever the client does.
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend([status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8));
    out.push(b' ');
    out.extend_from_slice(answer.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    // RFC 9110 sections 7.8 and 15.5.22: these two say to which protocol.
    let names_protocol = status == 101 || status == 426;
    let mut is_dated = is_interim;
    for field in &*answer.headers {
        let name = field.name.as_bytes();
        let goes_through = match fields::kind(name) {
            Kind::ContentLength | Kind::TransferEncoding | Kind::Connection | Kind::Te | Kind::Hop => false,
            Kind::Upgrade => names_protocol,
            Kind::Host | Kind::Trailer => true,
            _ => {
                is_dated |= name.eq_ignore_ascii_case(b"date");
                !connection.names(name)
            }
        };
        if goes_through {
            fields::write(out, name, field.value);
        }
    }
    if !is_dated {
        // RFC 9110 section 6.6.1: who forwards an answer without it says when it came.
        fields::write(out, b"date", date);
    }
    match delimiters.length {
        // RFC 9110 section 8.6: an answer of 1xx or 204 has none.
        Some(length) if !is_interim && status != 204 => fields::write_number(out, b"content-length", length),
        _ if coding == Coding::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    if names_protocol {
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    if !is_interim {
        if let Some(cookie) = &request.set_cookie {
            fields::write(out, b"set-cookie", cookie.as_bytes());
        }
        write_connection(out, request, keeps_client);
    }
    out.extend_from_slice(b"\r\n");
    let keeps_replica = framing != Framing::UntilEnd && !connection.is_close && (!is_http10 || connection.is_keep_alive);
    Ok(AnswerHead { status, framing, coding, keeps_replica, keeps_client })
}

/// Says what becomes of the client's connection, where that is not what its version means anyway.
pub(crate) fn write_connection(out: &mut Vec<u8>, request: &RequestHead, keeps_client: bool) {
    match (request.is_http10, keeps_client) {
        (_, false) => out.extend_from_slice(b"connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, true) => {}
    }
}

/// The bytes of a 100 of our own.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The status line of an answer of our own.
pub(crate) fn write_status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Error").as_bytes());
    out.extend_from_slice(b"\r\n");
}
