//! Specs as their users write them: what is refused, how that is told, what is taken, and what is generated from the form.
#![allow(clippy::unwrap_used)]

mod cases;
mod docs;
mod generated;
mod messages;
mod round_trip;
mod wild;

/// A spec with this in addition to what must be there.
fn with(more: &str) -> String {
    format!("name = \"shop\"\ncommand = [\"./shop\"]\n{more}\n")
}
