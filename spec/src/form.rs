//! The form that operators fill in: one type for each table of a spec. Doc comments here are the reference that people read.
//!
//! Each has a way to the domain's own type, which puts down all that cannot be meant, and a way back. Defaults are the domain's.

mod app;
mod artifact;
mod gateway;
mod health;
mod limits;
mod logs;
mod placement;
mod restart;
mod route;
mod run_as;
mod stop;

use schemars::{Schema, json_schema};

use crate::duration::{Duration, MS_MAX};
use crate::fault::{Faults, Path};

pub(crate) use app::AppForm;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A text that is one of these words, each with what it means.
fn words(words: &[(&str, &str)]) -> Schema {
    let one = |(word, meaning): &(&str, &str)| json_schema!({ "const": word, "description": meaning });
    json_schema!({ "oneOf": words.iter().map(one).collect::<Vec<_>>() })
}

impl Duration {
    fn of_ms(ms: u64) -> Self {
        Duration { ms }
    }

    /// Its milliseconds, if it is not too short or too long; a fault otherwise.
    fn within(self, range: std::ops::RangeInclusive<u64>, path: Path, faults: &mut Faults) -> u64 {
        if !range.contains(&self.ms) {
            let (least, most) = (Duration::of_ms(*range.start()), Duration::of_ms(*range.end()));
            faults.add(path, format!("\"{self}\" is out of range; give \"{least}\" to \"{most}\""));
        }
        self.ms
    }

    /// Its milliseconds, if it is a day at most.
    fn up_to_a_day(self, path: Path, faults: &mut Faults) -> u64 {
        self.within(0..=MS_MAX, path, faults)
    }
}

/// A path of the host that means the same wherever it is read.
fn check_absolute(text: &str, path: Path, faults: &mut Faults) {
    if !text.starts_with('/') {
        faults.add(path, "this is no absolute path; begin it with /");
    } else if has_control(text) {
        faults.add(path, "this path holds a control character; take it out");
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
