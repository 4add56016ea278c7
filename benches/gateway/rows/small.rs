//! Small answers over kept connections: requests in a second, latency, and how far from the floor.

use anyhow::Result;

use super::stage;
use crate::contest::{Results, Turn, Who};
use crate::options::Options;
use crate::table::{Bar, Outcome, Row, Unit};
use crate::wrk::Load;

/// Over 64 connections.
pub async fn at_64(options: &Options) -> Result<Outcome> {
    let results = stage::contest(load(64, options), options).await?;
    let mut rows = vec![
        to_better(&results, "req/s, 64 connections, to the faster of nginx and HAProxy", Bar::AtLeast(1.1, 1.25), Turn::req_per_s),
        to_better(&results, "p99, 64 connections, to the better of nginx and HAProxy", Bar::AtMost(1.1, 0.8), Turn::p99_ms),
    ];
    let to_floor = results.ratio_to(Who::Floor, Turn::req_per_s).unwrap_or_default();
    let spread = results.spread(Turn::req_per_s);
    rows.push(Row::new("req/s, 64 connections, to the floor", Unit::Times, Bar::AtLeast(0.8, 0.9), to_floor, spread));
    rows.push(to_itself(&results, "req/s, 64 connections, nginx to itself", Turn::req_per_s));
    rows.push(to_itself(&results, "p99, 64 connections, nginx to itself", Turn::p99_ms));
    Ok(Outcome { rows, figures: results.figures("small") })
}

/// Over 512 connections.
pub async fn at_512(options: &Options) -> Result<Outcome> {
    let results = stage::contest(load(512, options), options).await?;
    let rows = vec![
        to_better(&results, "req/s, 512 connections, to the faster of nginx and HAProxy", Bar::AtLeast(1.0, 1.15), Turn::req_per_s),
        to_itself(&results, "req/s, 512 connections, nginx to itself", Turn::req_per_s),
    ];
    Ok(Outcome { rows, figures: results.figures("small") })
}

fn load(connections: usize, options: &Options) -> Load {
    Load { connections, path: "/", is_closing: false, seconds: options.turn_seconds }
}

fn to_better(results: &Results, what: &str, bar: Bar, figure: fn(&Turn) -> f64) -> Row {
    let more_is_better = matches!(bar, Bar::AtLeast(..));
    let Some(better) = results.better(more_is_better, figure) else {
        return Row::skipped(what, "neither nginx nor HAProxy is installed");
    };
    let ratio = results.ratio_to(better, figure).unwrap_or_default();
    Row::new(what, Unit::Times, bar, ratio, results.spread(figure)).note(format!("that was {}", better.name()))
}

/// The ratio that should be 1: what the machine alone does to a ratio.
pub fn to_itself(results: &Results, what: &str, figure: fn(&Turn) -> f64) -> Row {
    match results.a_to_a(figure) {
        ratio if ratio.is_empty() => Row::skipped(what, "nginx is not installed"),
        ratio => Row::new(what, Unit::Times, Bar::None, ratio, 0.0),
    }
}

/// Ostler to nginx, where that is installed.
pub fn to_nginx(results: &Results, what: &str, bar: Bar, figure: fn(&Turn) -> f64) -> Row {
    match results.ratio_to(Who::Nginx, figure) {
        Some(ratio) => Row::new(what, Unit::Times, bar, ratio, results.spread(figure)),
        None => Row::skipped(what, "nginx is not installed"),
    }
}
