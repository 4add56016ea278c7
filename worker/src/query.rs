//! The parameters that a caller may put on any path: how long the answer takes, its status, and its size.

use std::time::Duration;

use http::StatusCode;

/// The longest delay that is accepted, in milliseconds.
pub const DELAY_MS_MAX: u64 = 600_000;
/// The largest body that is accepted, in bytes.
pub const BYTES_MAX: u64 = 1 << 30;

/// What the query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How long to wait before the answer.
    pub delay: Duration,
    /// The status of the answer.
    pub status: StatusCode,
    /// How large the answer's body is; `None` for the usual text.
    pub bytes: Option<u64>,
    /// The exit code of a crash.
    pub exit_code: u8,
}

/// Reads a query; what it does not know it leaves alone.
///
/// # Errors
/// A sentence about the parameter whose value does not fit.
pub fn read(query: &str) -> Result<Wish, String> {
    let mut wish = Wish { delay: Duration::ZERO, status: StatusCode::OK, bytes: None, exit_code: 1 };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "delay_ms" => {
                let delay_ms = value.parse().ok().filter(|delay_ms| *delay_ms <= DELAY_MS_MAX);
                let delay_ms = delay_ms.ok_or_else(|| format!("delay_ms must be a number from 0 to {DELAY_MS_MAX}"))?;
                wish.delay = Duration::from_millis(delay_ms);
            }
            "status" => {
                let status = value.parse().ok().filter(|status| (200..=599).contains(status));
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                wish.status = status.ok_or("status must be a number from 200 to 599")?;
            }
            "bytes" => {
                let bytes = value.parse().ok().filter(|bytes| *bytes <= BYTES_MAX);
                wish.bytes = Some(bytes.ok_or_else(|| format!("bytes must be a number from 0 to {BYTES_MAX}"))?);
            }
            "code" => wish.exit_code = value.parse().map_err(|_| "code must be a number from 0 to 255")?,
            _ => {}
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_asked_for_by_default() {
        for query in ["", "a=b", "&&", "delay=5", "x&y=&=z"] {
            assert_eq!(read(query), Ok(Wish { delay: Duration::ZERO, status: StatusCode::OK, bytes: None, exit_code: 1 }), "{query}");
        }
    }

    #[test]
    fn delay_status_size_and_exit_code_are_read() {
        let wish = read("delay_ms=250&status=503&bytes=1048576&code=7").unwrap();
        let expected =
            Wish { delay: Duration::from_millis(250), status: StatusCode::SERVICE_UNAVAILABLE, bytes: Some(1_048_576), exit_code: 7 };
        assert_eq!(wish, expected);
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_with_a_sentence() {
        let delays = ["delay_ms=", "delay_ms=-1", "delay_ms=1e3", "delay_ms=600001"];
        let others = ["status=100", "status=600", "status=abc", "bytes=1k", "bytes=1073741825", "code=256"];
        for query in delays.into_iter().chain(others) {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
