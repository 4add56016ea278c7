//! The command line of the benchmark: what follows `--` in `cargo bench --bench gateway -- ...`.

use anyhow::{Context as _, Result, ensure};

/// What it says when asked.
pub const HELP: &str = "\
cargo bench --bench gateway -- [--rounds N] [--seconds N] [--quick] [--check] [--list] [NAME...]

  --rounds N   how often each proxy has its turn (7)
  --seconds N  how long a turn is (3)
  --quick      one round of a second each, for a look; figures to compare come without it
  --check      exit with 1 when a bar is missed
  --list       the names of the scenarios
  NAME         only the scenarios whose name contains this";

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// `cargo bench` runs us, not `cargo test`: only then is anything measured.
    pub bench: bool,
    /// How often each proxy has its turn.
    pub rounds: usize,
    /// How long a turn is, in seconds: wrk takes whole ones.
    pub turn_seconds: u64,
    /// As little as possible.
    pub quick: bool,
    /// Fail when a bar is missed.
    pub check: bool,
    /// Show the names and leave.
    pub list: bool,
    /// Show [`HELP`] and leave.
    pub help: bool,
    /// Only the scenarios whose name contains one of these; all when empty.
    pub names: Vec<String>,
}

impl Options {
    /// Reads the arguments without the program's name.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options =
            Options { bench: false, rounds: 7, turn_seconds: 3, quick: false, check: false, list: false, help: false, names: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => options.bench = true,
                "--rounds" => options.rounds = usize::try_from(number(&arg, args.next())?)?,
                "--seconds" => options.turn_seconds = number(&arg, args.next())?,
                "--quick" => (options.quick, options.rounds, options.turn_seconds) = (true, 1, 1),
                "--check" => options.check = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                flag => {
                    ensure!(!flag.starts_with('-'), "unknown option {flag}\n{HELP}");
                    options.names.push(arg);
                }
            }
        }
        Ok(options)
    }

    /// How often to measure what is measured `full` times for a figure that is to be compared.
    pub fn runs(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }

    /// Whether the scenario of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }
}

fn number(flag: &str, value: Option<String>) -> Result<u64> {
    let value = value.unwrap_or_default();
    let number = value.parse().ok().filter(|number| (1..=1000).contains(number));
    number.with_context(|| format!("{flag} {value}: must be a number from 1 to 1000"))
}
