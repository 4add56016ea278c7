//! A new connection for each request.

use anyhow::Result;

use super::small::{to_itself, to_nginx};
use super::stage;
use crate::contest::Turn;
use crate::options::Options;
use crate::table::{Bar, Outcome};
use crate::wrk::Load;

const CONNECTIONS: usize = 64;

/// Against nginx.
pub async fn measure(options: &Options) -> Result<Outcome> {
    let load = Load { connections: CONNECTIONS, path: "/", is_closing: true, seconds: options.turn_seconds };
    let results = stage::contest(load, options).await?;
    let rows = vec![
        to_nginx(&results, "req/s, a new connection each, to nginx", Bar::AtLeast(0.9, 1.1), Turn::req_per_s),
        to_itself(&results, "req/s, a new connection each, nginx to itself", Turn::req_per_s),
    ];
    Ok(Outcome { rows, figures: results.figures("new connection") })
}
