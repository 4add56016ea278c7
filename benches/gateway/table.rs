//! What comes out: a row for each bar, and below it what each proxy did under each load.

use std::fmt;

use crate::contest::Figure;
use crate::samples::{median, range};

/// In what a row is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A ratio.
    Times,
    /// Thousands of bytes.
    Kilobytes,
    /// Milliseconds.
    Milliseconds,
}

/// What a median is held against.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// The bar, and what is aimed at: more is better.
    AtLeast(f64, f64),
    /// The bar, and what is aimed at: less is better.
    AtMost(f64, f64),
    /// No bar: to be seen beside the others.
    None,
}

/// How a median stands to its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is met even if the spread is taken off.
    Met,
    /// It would be met or missed by no more than the spread.
    Within,
    /// It is missed by more than the spread.
    Missed,
    /// Nothing was measured here: something is not installed or not allowed.
    Skipped,
    /// There is nothing to meet.
    Shown,
}

#[derive(Clone, Debug)]
enum Measured {
    Samples { unit: Unit, bar: Bar, samples: Vec<f64>, spread: f64 },
    Failed(String),
    Skipped(String),
}

/// One bar and what stands against it.
#[derive(Clone, Debug)]
pub struct Row {
    what: String,
    measured: Measured,
    notes: Vec<String>,
}

impl Row {
    /// The median of `samples` against `bar`, which the machine alone moves by `spread` of its value.
    pub fn new(what: impl Into<String>, unit: Unit, bar: Bar, samples: Vec<f64>, spread: f64) -> Row {
        Row { what: what.into(), measured: Measured::Samples { unit, bar, samples, spread }, notes: Vec::new() }
    }

    /// The scenario did not come to its end.
    pub fn failed(what: impl Into<String>, why: impl Into<String>) -> Row {
        Row { what: what.into(), measured: Measured::Failed(why.into()), notes: Vec::new() }
    }

    /// The scenario cannot be measured here.
    pub fn skipped(what: impl Into<String>, why: impl Into<String>) -> Row {
        Row { what: what.into(), measured: Measured::Skipped(why.into()), notes: Vec::new() }
    }

    /// Adds a sentence, shown below the table.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }

    fn verdict(&self) -> Verdict {
        let (bar, samples, spread) = match &self.measured {
            Measured::Samples { bar, samples, spread, .. } => (bar, samples, *spread),
            Measured::Failed(_) => return Verdict::Missed,
            Measured::Skipped(_) => return Verdict::Skipped,
        };
        let Some(median) = median(samples) else { return Verdict::Missed };
        let (lower, upper) = (median * (1.0 - spread), median * (1.0 + spread));
        match bar {
            Bar::None => Verdict::Shown,
            Bar::AtLeast(bar, _) if lower >= *bar => Verdict::Met,
            Bar::AtLeast(bar, _) if upper >= *bar => Verdict::Within,
            Bar::AtMost(bar, _) if upper <= *bar => Verdict::Met,
            Bar::AtMost(bar, _) if lower <= *bar => Verdict::Within,
            Bar::AtLeast(..) | Bar::AtMost(..) => Verdict::Missed,
        }
    }

    fn cells(&self) -> Vec<String> {
        let verdict = match self.verdict() {
            Verdict::Met => "ok",
            Verdict::Within => "in the spread",
            Verdict::Missed => "NOT MET",
            Verdict::Skipped => "SKIPPED",
            Verdict::Shown => "",
        };
        let Measured::Samples { unit, bar, samples, .. } = &self.measured else {
            return [&self.what, "", "", "-", "", "0", verdict].map(str::to_owned).to_vec();
        };
        let [bar, aim] = match bar {
            Bar::AtLeast(bar, aim) => [bar, aim].map(|bound| format!(">= {bound}")),
            Bar::AtMost(bar, aim) => [bar, aim].map(|bound| format!("<= {bound}")),
            Bar::None => [String::new(), String::new()],
        };
        let shown = median(samples).map_or_else(|| "-".to_owned(), |median| unit.number(median) + unit.sign());
        let range = range(samples, |sample| unit.number(sample));
        vec![self.what.clone(), bar, aim, shown, range, samples.len().to_string(), verdict.to_owned()]
    }
}

impl Unit {
    fn number(self, value: f64) -> String {
        match self {
            Unit::Times | Unit::Milliseconds => format!("{value:.2}"),
            Unit::Kilobytes => format!("{value:.1}"),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Unit::Times => "x",
            Unit::Kilobytes => " KB",
            Unit::Milliseconds => " ms",
        }
    }
}

/// What one scenario yields.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its bars.
    pub rows: Vec<Row>,
    /// What they are made of.
    pub figures: Vec<Figure>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    figures: Vec<Figure>,
}

impl Table {
    /// Adds at the end.
    pub fn extend(&mut self, outcome: Outcome) {
        self.rows.extend(outcome.rows);
        self.figures.extend(outcome.figures);
    }

    /// How many bars were missed by more than the spread.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict() == Verdict::Missed).count()
    }

    /// How many rows could not be measured here.
    pub fn skipped(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict() == Verdict::Skipped).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "bar", "aim", "median", "min..max", "n", ""].map(str::to_owned).to_vec();
        grid(f, std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect())?;
        if !self.figures.is_empty() {
            let head = Figure::HEAD.map(str::to_owned).to_vec();
            writeln!(f)?;
            grid(f, std::iter::once(head).chain(self.figures.iter().map(Figure::cells)).collect())?;
        }
        for row in &self.rows {
            if let Measured::Failed(why) | Measured::Skipped(why) = &row.measured {
                writeln!(f, "\n{}: {why}", row.what)?;
            }
        }
        if self.rows.iter().any(|row| !row.notes.is_empty()) {
            writeln!(f)?;
        }
        for row in &self.rows {
            for note in &row.notes {
                writeln!(f, "{}: {note}", row.what)?;
            }
        }
        Ok(())
    }
}

/// Lines of cells, each column as wide as its widest.
fn grid(f: &mut fmt::Formatter<'_>, lines: Vec<Vec<String>>) -> fmt::Result {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(f, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
