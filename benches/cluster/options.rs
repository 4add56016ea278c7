//! The command line of the benchmark: what follows `--` in `cargo bench --bench cluster -- ...`.

use anyhow::{Result, bail};

/// What it says when asked.
pub const HELP: &str = "\
cargo bench --bench cluster -- [--check] [--quick] [--list] [NAME...]

  --check  exit with 1 when a bar is missed
  --quick  one run of each, for a look; figures to compare come without it
  --list   the names of the scenarios
  NAME     only the scenarios whose name contains this";

/// What was asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// `cargo bench` runs us, not `cargo test`: only then is anything measured.
    pub bench: bool,
    /// Fail when a bar is missed.
    pub check: bool,
    /// One run of each.
    pub quick: bool,
    /// Show the names and leave.
    pub list: bool,
    /// Show [`HELP`] and leave.
    pub help: bool,
    /// Only the scenarios whose name contains one of these; all when empty.
    pub names: Vec<String>,
}

impl Options {
    /// Reads the arguments without the program's name.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        for arg in args {
            match arg.as_str() {
                "--bench" => options.bench = true,
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                flag if flag.starts_with('-') => bail!("unknown option {flag}\n{HELP}"),
                _ => options.names.push(arg),
            }
        }
        Ok(options)
    }

    /// How often to measure what is measured `full` times for a figure that is to be compared.
    pub fn runs(&self, full: usize) -> usize {
        if self.quick { 1 } else { full }
    }

    /// Whether the scenario of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }
}
