//! A block of IP addresses: RFC 4632 section 3.1, RFC 4291 section 2.3.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits, as in `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`.
///
/// An IPv4 address that is written into IPv6 (`::ffff:10.0.0.1`) is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not an address, or not followed by a number of bits that it can have.
    #[error("expected an IP address, or one and its prefix, as in 10.0.0.7, 10.0.0.0/8 or fd00::/8")]
    Form,
    /// The address is not the first of the block: one of the two numbers is a mistake.
    #[error("{given} is not the first address of its block; did you mean {meant}, or {given} alone")]
    NotFirst {
        /// The address as it was written.
        given: IpAddr,
        /// The block that it is in.
        meant: Network,
    },
}

impl Network {
    /// Whether an address is in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        first_of(address.to_canonical(), self.prefix) == Some(self.first)
    }
}

/// The first address of the block of `prefix` bits that `address` is in; `None`: it does not have so many.
fn first_of(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let mask = |bits: u8| (prefix <= bits).then(|| u128::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0));
    Some(match address {
        // The lowest 32 bits of the mask are those of a mask of 32 bits.
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & mask(32)? as u32).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & mask(128)?).into()),
    })
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| Error::Form)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().map_err(|_| Error::Form)?,
            Some(_) => return Err(Error::Form),
            None => bits,
        };
        let first = first_of(address, prefix).ok_or(Error::Form)?;
        if first != address {
            return Err(Error::NotFirst { given: address, meant: Network { first, prefix } });
        }
        Ok(match (address.to_canonical(), prefix) {
            (canonical, 96..) if canonical != address => Network { first: canonical, prefix: prefix - 96 },
            _ => Network { first, prefix },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_block_holds_the_addresses_that_begin_as_it_does() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.4/31", "192.0.2.5", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::1", "1.2.3.4"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "::1"),
        ] {
            let network: Network = block.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {block}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} in {block}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for bad in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "10/8", "10.0.0.0/+8", "10.0.0.0/8/8", "localhost", "[::1]", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(Error::Form), "{bad}");
        }
        let message = "10.0.0.5/8".parse::<Network>().unwrap_err().to_string();
        assert!(message.contains("10.0.0.0/8") && message.contains("10.0.0.5 alone"), "{message}");
    }
}
