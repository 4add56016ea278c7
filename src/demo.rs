//! `ostler demo`: a whole cluster on this machine, as real processes, and nothing of it left afterwards.
//!
//! One directory holds everything ([`house`]); a controller and two agents run as children ([`child`], [`stage`]); then
//! either a person watches and plays ([`live`], [`map`]), or the demo walks the seven scenarios by itself ([`tour`]).

mod apps;
mod child;
mod house;
mod live;
mod load;
mod map;
mod port;
mod probe;
mod stage;
mod tour;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

use crate::signals::Signals;
use crate::{failure, output};
use apps::Apps;
use house::House;
use stage::{Ports, Stage};

/// How long a worker's process may still be there when its agent has ended.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Run a whole cluster on this machine: a controller, two agents and four workers, until Ctrl+C.
///
/// It needs nothing and leaves nothing behind: all of it is in a directory of its own, which goes when the demo ends,
/// however it ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Walk through all seven scenarios, from the first node to a node that returns, check each, and exit
    #[arg(long)]
    tour: bool,
    /// Run the apps of this directory in place of the workers: each *.toml in it or below is one, as for `controller --apps`. Programs that they name by
    /// a relative path are looked for in it
    #[arg(long, value_name = "DIR", conflicts_with = "tour")]
    apps: Option<PathBuf>,
}

/// What the sweeper is told. See [`house`].
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// The directory to remove.
    dir: PathBuf,
}

/// Runs it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let apps = args.apps.as_deref().map(Apps::read).transpose()?;
    let ports = if args.tour { Ports::default() } else { Ports::of_the_original() };
    let house = House::build(apps.as_ref().map(Apps::directory))?;
    let mut stage = Stage::new(&house, apps.as_ref());
    let played = tokio::select! {
        biased;
        () = signals.next() => None,
        played = play(&mut stage, ports, args.tour) => Some(played),
    };
    if let Some(Err(error)) = &played
        && !failure::is_closed_output(error)
    {
        output::complain(&stage.last_words());
    }
    // From here on everything ends, whatever happened before, and whether or not anybody still reads. A signal makes it quick.
    let _ = output::print("\nStopping the agents, then the controller.\n");
    let closed = stage.close(&mut signals).await;
    let left = house.leave().await;
    let pids = match played {
        None if args.tour => bail!("the tour was interrupted"),
        None => BTreeSet::new(),
        Some(played) => played?,
    };
    closed?;
    left?;
    probe::all_end(&pids, LAST_BREATH).await?;
    if args.tour {
        output::print("All seven scenarios held. ")?;
    }
    Ok(output::print("Nothing is left behind.\n")?)
}

async fn play(stage: &mut Stage<'_>, ports: Ports, is_tour: bool) -> anyhow::Result<BTreeSet<u32>> {
    stage.open(ports).await?;
    if is_tour { tour::walk(stage).await } else { live::show(stage).await }
}

/// Runs the sweeper.
pub fn sweep(args: &SweepArgs) -> anyhow::Result<()> {
    house::sweep(&args.dir)
}
