//! Requests that belong together: by the value of a cookie or of a field, as the app is told to.

use cluster::balance;
use cluster::traffic::Balance;

use crate::fields;

/// What a request is known by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sticky {
    /// Nothing; it is spread in turns.
    No,
    /// A value.
    Key(u64),
    /// It has no cookie: it gets this one.
    New { key: u64, cookie: String },
}

impl Sticky {
    /// What the request is known by whose head was written to `head`. `random`: for a new cookie.
    pub(crate) fn read(balance: &Balance, head: &[u8], random: impl FnOnce() -> u64) -> Self {
        match balance {
            Balance::RoundRobin | Balance::LeastRequest => Sticky::No,
            Balance::Header(name) => fields::find(head, name.as_bytes()).map_or(Sticky::No, |value| Sticky::Key(balance::hash(value))),
            Balance::Cookie(name) => match fields::all(head, b"cookie").find_map(|cookies| cookie(cookies, name.as_bytes())) {
                Some(value) => Sticky::Key(balance::hash(value)),
                None => {
                    let value = format!("{:016x}", random());
                    let key = balance::hash(value.as_bytes());
                    Sticky::New { key, cookie: format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax") }
                }
            },
        }
    }

    /// The number of the value.
    pub(crate) fn key(&self) -> Option<u64> {
        match self {
            Sticky::No => None,
            Sticky::Key(key) | Sticky::New { key, .. } => Some(*key),
        }
    }
}

/// The value of a cookie (RFC 6265 section 4.2.1); an empty one is none.
fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies
        .split(|byte| *byte == b';')
        .filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
        .find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(balance: &str, head: &str) -> Sticky {
        let balance = balance.parse().unwrap_or_default();
        Sticky::read(&balance, format!("GET / HTTP/1.1\r\nhost: a\r\n{head}\r\n").as_bytes(), || 0xabc)
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let key = |value: &str| Sticky::Key(balance::hash(value.as_bytes()));
        assert_eq!(read("cookie:id", "cookie: xid=1; id=alice; id=bob\r\n"), key("alice"));
        assert_eq!(read("cookie:id", "cookie: a=b\r\nCookie: id=x=y\r\n"), key("x=y"));
        let new = Sticky::New {
            key: balance::hash(b"0000000000000abc"),
            cookie: "id=0000000000000abc; Path=/; HttpOnly; SameSite=Lax".to_owned(),
        };
        for none in ["", "cookie: ID=1; idx=2; id\r\n", "cookie: id=\r\n", "x-cookie: id=1\r\n"] {
            assert_eq!(read("cookie:id", none), new, "{none}");
        }
    }

    #[test]
    fn a_field_is_found_whatever_its_case_and_its_absence_is_nothing() {
        assert_eq!(read("header:X-User", "x-uSER: 7\r\n"), Sticky::Key(balance::hash(b"7")));
        assert_eq!(read("header:X-User", "x-users: 7\r\n"), Sticky::No);
        assert_eq!(read("round-robin", "cookie: id=1\r\n"), Sticky::No);
    }
}
