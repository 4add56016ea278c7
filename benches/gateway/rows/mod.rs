//! The scenarios: what each does, and the rows that come of it.

mod idle;
mod large;
mod new_connection;
mod small;
mod stage;
mod stop;
mod tunnel;

use anyhow::Result;

use crate::harness::Namespaces;
use crate::options::Options;
use crate::table::{Outcome, Row};
use crate::wrk;

/// Workers behind every proxy.
const WORKERS: usize = 4;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub enum Scenario {
    /// Small answers over 64 connections.
    Small64,
    /// Small answers over 512 connections.
    Small512,
    /// Answers of 1 MiB.
    Large,
    /// A new connection for each request.
    NewConnection,
    /// Connections on which nothing happens.
    Idle,
    /// A replica that is to stop.
    Stop,
    /// Workers on another host.
    Tunnel,
}

impl Scenario {
    /// All of them, in the order of the table.
    pub const ALL: [Scenario; 7] =
        [Scenario::Small64, Scenario::Small512, Scenario::Large, Scenario::NewConnection, Scenario::Idle, Scenario::Stop, Scenario::Tunnel];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Small64 => "small-64",
            Scenario::Small512 => "small-512",
            Scenario::Large => "large",
            Scenario::NewConnection => "new-connection",
            Scenario::Idle => "idle",
            Scenario::Stop => "stop",
            Scenario::Tunnel => "tunnel",
        }
    }

    /// Why it cannot be measured here, if so.
    fn missing(self) -> Option<&'static str> {
        match self {
            Scenario::Idle | Scenario::Stop => None,
            Scenario::Tunnel => wrk::missing().or_else(Namespaces::missing),
            _ => wrk::missing(),
        }
    }

    /// Runs it as often as the options say.
    pub async fn measure(self, options: &Options) -> Result<Outcome> {
        if let Some(why) = self.missing() {
            return Ok(Outcome { rows: vec![Row::skipped(self.name(), why)], figures: Vec::new() });
        }
        match self {
            Scenario::Small64 => small::at_64(options).await,
            Scenario::Small512 => small::at_512(options).await,
            Scenario::Large => large::measure(options).await,
            Scenario::NewConnection => new_connection::measure(options).await,
            Scenario::Idle => idle::measure(options.runs(3)).await,
            Scenario::Stop => stop::measure(options.runs(50)).await,
            Scenario::Tunnel => tunnel::measure(options).await,
        }
    }
}
