//! How much of the cluster a command shows, and for whom.

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables that fit most terminals
    #[default]
    Table,
    /// Tables with labels, and with what is used of processors, memory, files and threads
    Wide,
    /// The controller's own JSON
    Json,
}

/// The flags that choose it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FormatArgs {
    /// What to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl FormatArgs {
    /// What was asked for.
    pub fn format(self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}
