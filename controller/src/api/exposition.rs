//! Lines of Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

/// Begins a family of series.
pub fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes the value of a series: its name, with its labels.
pub fn line(out: &mut String, series: &str, value: impl Display) {
    let _ = writeln!(out, "{series} {value}");
}

/// A label's value as it stands between quotes: whoever names a node may use any character.
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes microseconds as seconds.
pub fn seconds(out: &mut String, series: &str, us: u64) {
    let _ = writeln!(out, "{series} {}.{:06}", us / 1_000_000, us % 1_000_000);
}
