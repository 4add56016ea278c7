//! The table that comes out: a row for each bar, with what was measured beside it.

use std::fmt;

/// In what a figure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A ratio.
    Times,
    /// Millions of bytes.
    Megabytes,
    /// Hundredths.
    Percent,
}

/// What was measured.
#[derive(Clone, Debug)]
enum Measured {
    /// The median of these must not be above the bar.
    Samples { unit: Unit, at_most: f64, samples: Vec<f64> },
    /// Something that must hold in every run.
    Fact { bar: String, shown: String, holds: bool, runs: usize },
    /// No figure came out: why not.
    Failed(String),
}

/// One bar and what stands against it.
#[derive(Clone, Debug)]
pub struct Row {
    what: String,
    measured: Measured,
    notes: Vec<String>,
}

impl Row {
    /// The median of `samples` must be at most `at_most`.
    pub fn at_most(what: impl Into<String>, at_most: f64, unit: Unit, samples: Vec<f64>) -> Row {
        Row { what: what.into(), measured: Measured::Samples { unit, at_most, samples }, notes: Vec::new() }
    }

    /// `holds` must be true of every run; `shown` says what was seen.
    pub fn fact(what: impl Into<String>, bar: impl Into<String>, shown: impl Into<String>, holds: bool, runs: usize) -> Row {
        let measured = Measured::Fact { bar: bar.into(), shown: shown.into(), holds, runs };
        Row { what: what.into(), measured, notes: Vec::new() }
    }

    /// The scenario did not come to its end.
    pub fn failed(what: impl Into<String>, why: impl Into<String>) -> Row {
        Row { what: what.into(), measured: Measured::Failed(why.into()), notes: Vec::new() }
    }

    /// Adds a sentence, shown below the table.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }

    /// Whether the bar was reached.
    pub fn is_met(&self) -> bool {
        match &self.measured {
            Measured::Samples { at_most, samples, .. } => median(samples).is_some_and(|median| median <= *at_most),
            Measured::Fact { holds, .. } => *holds,
            Measured::Failed(_) => false,
        }
    }

    fn cells(&self) -> [String; 6] {
        let verdict = if self.is_met() { "ok" } else { "NOT MET" }.to_owned();
        let [bar, measured, spread, n] = match &self.measured {
            Measured::Samples { unit, at_most, samples } => {
                let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| unit.number(value));
                let least = samples.iter().copied().reduce(f64::min);
                let most = samples.iter().copied().reduce(f64::max);
                [
                    format!("<= {at_most}{}", unit.sign()),
                    shown(median(samples)) + unit.sign(),
                    format!("{}..{}", shown(least), shown(most)),
                    samples.len().to_string(),
                ]
            }
            Measured::Fact { bar, shown, runs, .. } => [bar.clone(), shown.clone(), String::new(), runs.to_string()],
            Measured::Failed(_) => [String::new(), "-".to_owned(), String::new(), "0".to_owned()],
        };
        [self.what.clone(), bar, measured, spread, n, verdict]
    }
}

impl Unit {
    fn number(self, value: f64) -> String {
        match self {
            Unit::Seconds => format!("{value:.3}"),
            Unit::Times | Unit::Percent => format!("{value:.2}"),
            Unit::Megabytes => format!("{value:.1}"),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Unit::Seconds => " s",
            Unit::Times => "x",
            Unit::Megabytes => " MB",
            Unit::Percent => " %",
        }
    }
}

/// The middle of `samples`; of an even number, the mean of the two in the middle.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle.checked_sub(1)?)? + upper) / 2.0)
}

/// All rows.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds rows at the end.
    pub fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// How many bars were missed.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_met()).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "bar", "median", "min..max", "n", ""].map(str::to_owned);
        let lines: Vec<[String; 6]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: Vec<usize> = (0..6).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
        for line in &lines {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        for row in &self.rows {
            if let Measured::Failed(why) = &row.measured {
                writeln!(f, "\n{}: {why}", row.what)?;
            }
        }
        let mut notes = self.rows.iter().filter(|row| !row.notes.is_empty()).peekable();
        if notes.peek().is_some() {
            writeln!(f)?;
        }
        for row in notes {
            for note in &row.notes {
                writeln!(f, "{}: {note}", row.what)?;
            }
        }
        Ok(())
    }
}
