//! `ostler schema`: what can stand in a spec.

use crate::output;

/// Print the JSON Schema of an app's spec, for editors.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the reference instead: all keys, in Markdown
    #[arg(long)]
    reference: bool,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.reference {
        return Ok(output::print(&spec::reference())?);
    }
    Ok(output::print(&format!("{:#}\n", spec::schema()))?)
}
