//! The gateway's numbers as flags. The defaults are the gateway's own, so that they stand in one place.

use std::ops::RangeInclusive;

use gateway::{FIELDS_MAX, Limits};

use crate::duration::{self, Milliseconds};

/// A wait of less than the clock of the gateway can tell is none; one of more than a day is as good as without end.
const SHORTEST: Milliseconds = Milliseconds(10);
const LONGEST: Milliseconds = Milliseconds(24 * 3_600_000);
/// What is quiet by its nature may be quiet for a month.
const LONGEST_TUNNEL: Milliseconds = Milliseconds(720 * 3_600_000);
/// Each is held in memory while it comes.
const HEAD_BYTES: RangeInclusive<u64> = 1_024..=1_048_576;
/// More than any host holds.
const COUNT_MAX: u64 = 1_000_000;

/// What the gateway waits for and takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Gateway limits")]
pub struct GatewayArgs {
    /// How long a request waits for a ready replica: a number with ms, s, m or h, as all times here
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().hold_ms), value_parser = time(LONGEST))]
    hold: Milliseconds,
    /// How many requests may wait for a replica at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().hold_max, value_parser = number(1..=COUNT_MAX))]
    hold_max: usize,
    /// How long opening a connection to a replica may take
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().connect_ms), value_parser = time(LONGEST))]
    connect_timeout: Milliseconds,
    /// How long a replica may take from the last byte of a request to the first of its answer
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().first_byte_ms), value_parser = time(LONGEST))]
    first_byte_timeout: Milliseconds,
    /// How long a client may take to send the head of a request
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().head_ms), value_parser = time(LONGEST))]
    head_timeout: Milliseconds,
    /// The most bytes of a head, of requests and of answers
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().head_bytes_max, value_parser = number(HEAD_BYTES))]
    head_bytes: usize,
    /// The most fields of a head, of requests and of answers; 256 at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().head_fields_max, value_parser = number(1..=FIELDS_MAX as u64))]
    head_fields: usize,
    /// The most bytes of a request's target, which is its path and query
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().target_bytes_max, value_parser = number(64..=*HEAD_BYTES.end()))]
    target_bytes: usize,
    /// How long a body may stand still, in either direction
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().body_idle_ms), value_parser = time(LONGEST))]
    body_idle: Milliseconds,
    /// How long a client's connection may rest between requests
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().client_idle_ms), value_parser = time(LONGEST))]
    client_idle: Milliseconds,
    /// How long a client that has ended its side may wait for more of its answer
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().half_closed_ms), value_parser = time(LONGEST))]
    half_closed: Milliseconds,
    /// How long a connection that became a tunnel (WebSocket) may be silent
    #[arg(long, value_name = "TIME", default_value_t = Milliseconds(Limits::default().tunnel_idle_ms), value_parser = time(LONGEST_TUNNEL))]
    tunnel_idle: Milliseconds,
    /// The most connections of one address at once; loopback and trusted proxies may have any number [default: any number]
    #[arg(long, value_name = "N", value_parser = number(1..=COUNT_MAX))]
    connections_per_address: Option<usize>,
    /// The most requests under way on one connection of HTTP/2
    #[arg(long, value_name = "N", default_value_t = Limits::default().h2_streams_max, value_parser = number32(1..=65_536))]
    h2_streams: u32,
    /// How many requests that a client of HTTP/2 begins and breaks off may wait to be forgotten; with more its connection ends
    #[arg(long, value_name = "N", default_value_t = Limits::default().h2_resets_max, value_parser = number(1..=65_536))]
    h2_resets: usize,
}

impl GatewayArgs {
    /// What the command line says, as the gateway takes it.
    pub fn limits(&self) -> Limits {
        Limits {
            hold_ms: self.hold.0,
            hold_max: self.hold_max,
            connect_ms: self.connect_timeout.0,
            first_byte_ms: self.first_byte_timeout.0,
            head_ms: self.head_timeout.0,
            head_bytes_max: self.head_bytes,
            head_fields_max: self.head_fields,
            target_bytes_max: self.target_bytes,
            connections_per_address_max: self.connections_per_address,
            body_idle_ms: self.body_idle.0,
            client_idle_ms: self.client_idle.0,
            half_closed_ms: self.half_closed.0,
            tunnel_idle_ms: self.tunnel_idle.0,
            h2_streams_max: self.h2_streams,
            h2_resets_max: self.h2_resets,
        }
    }
}

fn time(longest: Milliseconds) -> impl Fn(&str) -> Result<Milliseconds, String> + Clone {
    duration::parse_between(SHORTEST, longest)
}

fn number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let expected = || format!("expected a whole number between {} and {}", range.start(), range.end());
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(expected)
    }
}

fn number32(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    let parse = number(u64::from(*range.start())..=u64::from(*range.end()));
    move |text| parse(text).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn read(args: &[&str]) -> Result<GatewayArgs, String> {
        let command = GatewayArgs::augment_args(Command::new("gateway").no_binary_name(true));
        let matches = command.try_get_matches_from(args).map_err(|error| error.to_string())?;
        GatewayArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_the_limits_are_the_gateways_own() {
        assert_eq!(read(&[]).unwrap().limits(), Limits::default());
    }

    #[test]
    fn every_limit_is_a_flag() {
        let args = "--hold 1s --hold-max 2 --connect-timeout 30ms --first-byte-timeout 4s --head-timeout 5s --head-bytes 6000 --head-fields 7 \
                    --target-bytes 800 --body-idle 9s --client-idle 10s --half-closed 11s --tunnel-idle 200h --connections-per-address 13 --h2-streams 14 --h2-resets 15";
        let expected = Limits {
            hold_ms: 1_000,
            hold_max: 2,
            connect_ms: 30,
            first_byte_ms: 4_000,
            head_ms: 5_000,
            head_bytes_max: 6_000,
            head_fields_max: 7,
            target_bytes_max: 800,
            body_idle_ms: 9_000,
            client_idle_ms: 10_000,
            half_closed_ms: 11_000,
            tunnel_idle_ms: 720_000_000,
            connections_per_address_max: Some(13),
            h2_streams_max: 14,
            h2_resets_max: 15,
        };
        assert_eq!(read(&args.split(' ').collect::<Vec<_>>()).unwrap().limits(), expected);
    }

    #[test]
    fn what_is_nothing_or_too_much_is_refused_in_one_line_that_says_what_would_do() {
        for (args, expected) in [
            (["--hold", "0s"], "expected between 10ms and 24h"),
            (["--body-idle", "25h"], "expected between 10ms and 24h"),
            (["--tunnel-idle", "721h"], "expected between 10ms and 720h"),
            (["--head-timeout", "10"], "its unit"),
            (["--hold-max", "0"], "between 1 and 1000000"),
            (["--head-bytes", "1048577"], "between 1024 and 1048576"),
            (["--head-fields", "257"], "between 1 and 256"),
            (["--target-bytes", "63"], "between 64 and 1048576"),
            (["--connections-per-address", "0"], "between 1 and 1000000"),
        ] {
            let message = read(&args).unwrap_err();
            assert!(message.lines().next().unwrap().contains(expected), "{args:?}: {message}");
        }
    }
}
