//! What the gateway answers to a TRACE or OPTIONS that has come as far as it may: RFC 9110 section 7.6.2, `Max-Forwards: 0`.

use http::StatusCode;

use crate::answer;
use crate::fields;
use crate::problem::{METHODS_ALLOWED, Manner};

/// What is told to a request that goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastHop {
    /// What can be done here.
    Options,
    /// The head of the request as it came (RFC 9110 section 9.3.8).
    Trace(Vec<u8>),
}

impl LastHop {
    /// The answer to a TRACE with this head and these fields: what may be secret is left out.
    pub(crate) fn trace(head: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut message = Vec::with_capacity(head.len());
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
        let is_secret =
            |name: &str| ["authorization", "proxy-authorization", "cookie"].iter().any(|secret| name.eq_ignore_ascii_case(secret));
        for field in fields.iter().filter(|field| !is_secret(field.name)) {
            fields::write(&mut message, field.name.as_bytes(), field.value);
        }
        message.extend_from_slice(b"\r\n");
        LastHop::Trace(message)
    }

    /// Writes it as an answer. Returns how long its head is.
    pub(crate) fn write(&self, out: &mut Vec<u8>, manner: Manner) -> usize {
        let before = out.len();
        answer::write_status_line(out, StatusCode::OK);
        let end = match self {
            LastHop::Options => {
                fields::write(out, b"allow", METHODS_ALLOWED);
                manner.write_end(out, b"")
            }
            LastHop::Trace(message) => {
                fields::write(out, b"content-type", b"message/http");
                manner.write_end(out, message)
            }
        };
        end - before
    }
}
