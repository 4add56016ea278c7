//! Whether a browser may have sent a call to an API: loopback is not trust.
//!
//! A page of any site can make a browser send requests to `localhost` (CVE-2026-27589), and a name of its own can be pointed
//! at 127.0.0.1 (DNS rebinding). So a call is refused when its Host is neither an IP literal, `localhost` nor a configured
//! name, when its Origin is not its own Host, and when the browser says that another site made it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The fields of a call that tell where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provenance<'a> {
    /// `Host`, or the authority of an absolute-form target.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub sec_fetch_site: Option<&'a str>,
}

/// Why a call is refused (403).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Host names somebody else.
    #[error("the Host \"{0}\" is not allowed: call by an IP address, by localhost, or start this program with --allow-host and that name")]
    Host(String),
    /// A page of another origin made the call.
    #[error("a page of the origin \"{0}\" may not call this API")]
    Origin(String),
    /// The browser says that a page of another site made the call.
    #[error("a page of another site may not call this API (Sec-Fetch-Site: cross-site)")]
    CrossSite,
}

/// Host without its port, brackets dropped; `None` when it is malformed.
fn host_of(authority: &str) -> Option<&str> {
    if let Some(inside) = authority.strip_prefix('[') {
        let (address, after) = inside.split_once(']')?;
        let port_fits = after.is_empty() || after.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
        return port_fits.then_some(address);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    (!host.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(host)
}

/// Checks one call; `allowed` are the host names that were configured.
///
/// # Errors
/// A [`Refused`] that says why: answer 403.
pub fn check(call: Provenance<'_>, allowed: &[String]) -> Result<(), Refused> {
    let Some(authority) = call.host else { return Err(Refused::Host(String::new())) };
    let refused = || Refused::Host(authority.chars().take(64).collect());
    let host = host_of(authority).ok_or_else(refused)?;
    let is_ours = host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || host.parse::<Ipv6Addr>().is_ok()
        || allowed.iter().any(|name| name.eq_ignore_ascii_case(host));
    if !is_ours {
        return Err(refused());
    }
    if let Some(origin) = call.origin {
        let same = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|from| from.eq_ignore_ascii_case(authority));
        if !same {
            return Err(Refused::Origin(origin.chars().take(128).collect()));
        }
    }
    if call.sec_fetch_site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err(Refused::CrossSite);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(host: &'a str, origin: Option<&'a str>, site: Option<&'a str>) -> Provenance<'a> {
        Provenance { host: Some(host), origin, sec_fetch_site: site }
    }

    #[test]
    fn a_call_by_address_or_by_localhost_is_let_in() {
        for host in ["localhost:8000", "LOCALHOST", "127.0.0.1:8000", "10.0.0.7:8000", "[::1]:8000", "[::1]"] {
            assert_eq!(check(call(host, None, None), &[]), Ok(()), "{host}");
        }
        assert_eq!(check(call("ops.example:8000", None, None), &["ops.example".to_owned()]), Ok(()));
        assert_eq!(check(call("localhost:8000", Some("http://localhost:8000"), Some("same-origin")), &[]), Ok(()));
    }

    #[test]
    fn a_foreign_host_or_origin_is_refused() {
        for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[::1", "localhost:80x", "127.0.0.1.evil.example"] {
            assert!(check(call(host, None, None), &[]).is_err(), "{host}");
        }
        for origin in ["http://evil.example", "null", "http://localhost:3000", "file://", "http://localhost:8000.evil.example"] {
            assert!(check(call("localhost:8000", Some(origin), None), &[]).is_err(), "{origin}");
        }
        assert_eq!(check(call("localhost:8000", None, Some("cross-site")), &[]), Err(Refused::CrossSite));
        assert!(check(Provenance::default(), &[]).is_err());
    }
}
