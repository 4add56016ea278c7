//! Answers of 1 MiB: how much goes through in a second.

use anyhow::Result;

use super::small::{to_itself, to_nginx};
use super::stage;
use crate::contest::Turn;
use crate::options::Options;
use crate::table::{Bar, Outcome};
use crate::wrk::Load;

const CONNECTIONS: usize = 16;

/// Against nginx.
pub async fn measure(options: &Options) -> Result<Outcome> {
    let load = Load { connections: CONNECTIONS, path: "/?bytes=1048576", is_closing: false, seconds: options.turn_seconds };
    let results = stage::contest(load, options).await?;
    let rows = vec![
        to_nginx(&results, "MB/s, answers of 1 MiB, to nginx", Bar::AtLeast(0.9, 1.1), Turn::mb_per_s),
        to_itself(&results, "MB/s, answers of 1 MiB, nginx to itself", Turn::mb_per_s),
    ];
    Ok(Outcome { rows, figures: results.figures("1 MiB") })
}
