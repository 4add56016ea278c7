//! The log of a role: events on stderr, one line each.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much a role says.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// How much to log: error, warn, info, debug or trace, also by module, as in info,gateway=debug
    #[arg(long = "log", env = "OSTLER_LOG", value_name = "LEVEL", default_value = "info", value_parser = parse)]
    filter: Targets,
}

/// A single word must be a level: taken as the name of a module it would silence everything else.
fn parse(text: &str) -> Result<Targets, String> {
    let expected = || "expected error, warn, info, debug, trace or off, or a list such as info,gateway=debug".to_owned();
    if text.is_empty() {
        return parse("info");
    }
    if text.split(',').any(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err()) {
        return Err(expected());
    }
    let targets: Targets = text.parse().map_err(|_| expected())?;
    // What it says of hostile clients it says for each of them, without their address; the gateway says that in its own words.
    Ok(if text.contains("h2=") { targets } else { targets.with_target("h2", LevelFilter::ERROR) })
}

/// From here on events are written to stderr, in colour on a terminal that wants it.
pub fn start(args: &LogArgs) {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(coloured)
        .with_target(false)
        // A closed stderr is no reason to stop; complaining about it on stderr would be.
        .log_internal_errors(false);
    // It fails only where a log was started before: then that one stays.
    let _ = tracing_subscriber::registry().with(args.filter.clone()).with(lines).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_a_list_of_modules() {
        for good in ["", "info", "WARN", "off", "info,gateway=debug", "controller=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "gateway", "info,gateway", "gateway=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
