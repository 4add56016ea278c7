//! The part of the controller's command line that says how requests reach the replicas, and where they are written down.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use cluster::traffic::{Balance, Protocol, Traffic};
use gateway::access_log::{self, Format};

use crate::duration;

/// How requests are spread, and where they are written down.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traffic")]
pub struct TrafficArgs {
    /// Which replica gets the next request: round-robin (each in its turn), least-request (of two that are drawn, the one with fewer
    /// requests), cookie:NAME or header:NAME (the same one for the same value; who has no such cookie is given one)
    #[arg(long, value_name = "HOW", default_value_t = Balance::RoundRobin)]
    balance: Balance,
    /// How long a new replica takes to get its full share of requests: a number with ms, s, m or h
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse_up_to_a_day)]
    slow_start: Duration,
    /// The most replicas of an app that get no requests for a while, since connections to them fail, or their answers are errors, slow or do
    /// not come while those of the others do well; 0 leaves nobody out
    #[arg(long, value_name = "PERCENT", default_value_t = Traffic::default().max_ejected_percent, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_ejected: u8,
    /// What the workers speak: http1, or h2c (HTTP/2 in the clear from the first byte on, as gRPC programs do)
    #[arg(long, value_name = "PROTOCOL", default_value = "http1")]
    protocol: Spoken,
    /// Write a line for each request to this file, which may be moved away at any time; "-" is stdout
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// What such a line looks like
    #[arg(long, value_name = "FORMAT", default_value = "json", requires = "access_log")]
    access_log_format: LogFormat,
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// A JSON object
    Json,
    /// The combined format of Apache's server
    Combined,
}

/// What the workers speak.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spoken {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 in the clear
    H2c,
}

impl TrafficArgs {
    /// How requests are spread.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            balance: self.balance.clone(),
            slow_start_ms: u64::try_from(self.slow_start.as_millis()).unwrap_or(u64::MAX),
            max_ejected_percent: self.max_ejected,
            protocol: match self.protocol {
                Spoken::Http1 => Protocol::Http1,
                Spoken::H2c => Protocol::H2c,
            },
        }
    }

    /// Where requests are written down.
    pub fn access_log(&self) -> Option<access_log::Config> {
        let path = self.access_log.clone()?;
        let format = match self.access_log_format {
            LogFormat::Json => Format::Json,
            LogFormat::Combined => Format::Combined,
        };
        Some(access_log::Config { path: (path.as_os_str() != "-").then_some(path), format })
    }
}
