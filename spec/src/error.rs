//! What is wrong with a spec, as people read it: file, line, column, a sentence, and the text that it is about.

use std::fmt;
use std::ops::Range;

use crate::Format;
use crate::fault::{FAULTS_MAX, Fault, Path, Step, shown};
use crate::tree::{Node, Tree};

/// The most characters of a line that are shown.
const SHOWN_MAX: usize = 100;

/// Why a spec cannot be taken. It displays as the first fault, in one line; [`SpecError::report`] shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The name of the file, or what the text was called.
    pub name: String,
    /// What is wrong, at least one; where there is very much, not all of it.
    pub faults: Vec<SpecFault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecFault {
    /// Its line, from 1.
    pub line: usize,
    /// Its column, in characters, from 1.
    pub column: usize,
    /// With which value: `health[0].path` in TOML, the pointer `/health/0/path` (RFC 6901) in JSON; empty: with the whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The line itself, with a mark below what is meant.
    pub snippet: String,
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.faults.first() {
            f.write_str(&self.sentence(first))?;
        }
        match self.faults.len() {
            0 | 1 => Ok(()),
            all => write!(f, " (and {} more)", all - 1),
        }
    }
}

impl SpecError {
    pub(crate) fn new(source: &Source<'_>, tree: Option<&Tree>, mut faults: Vec<Fault>) -> Self {
        faults.truncate(FAULTS_MAX);
        let mut faults: Vec<SpecFault> = faults.into_iter().map(|fault| source.show(tree, fault)).collect();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        SpecError { name: shown(source.name), faults }
    }

    /// One fault in one line: `shop.toml:3:8: limits.nice: …`.
    #[must_use]
    pub fn sentence(&self, fault: &SpecFault) -> String {
        let colon = if fault.path.is_empty() { "" } else { ": " };
        format!("{}:{}:{}: {}{colon}{}", self.name, fault.line, fault.column, fault.path, fault.message)
    }

    /// The faults, each with its line of the text; ends with a line end.
    #[must_use]
    pub fn report(&self) -> String {
        self.faults.iter().map(|fault| format!("{}\n{}", self.sentence(fault), fault.snippet)).collect()
    }
}

/// A text and what it is called.
pub(crate) struct Source<'t> {
    pub(crate) name: &'t str,
    pub(crate) text: &'t str,
    pub(crate) format: Format,
}

impl Source<'_> {
    fn show(&self, tree: Option<&Tree>, fault: Fault) -> SpecFault {
        let span = fault.span.or_else(|| tree.map(|tree| find(tree, &fault.path, fault.is_of_key))).unwrap_or(0..0);
        let path = match self.format {
            Format::Toml => fault.path.to_string(),
            Format::Json => fault.path.pointer(),
        };
        let (line, column, snippet) = self.mark(span);
        SpecFault { line, column, path, message: fault.what.lines().collect::<Vec<_>>().join(" "), snippet }
    }

    /// Line and column of the beginning of `span`, and that line with a mark below.
    fn mark(&self, span: Range<usize>) -> (usize, usize, String) {
        let text = self.text;
        let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let number = text[..start].matches('\n').count() + 1;
        let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let before = text[line_start..start].chars().count();
        // A mark ends with its line, and there is one below nothing as well.
        let marked = text[start..end.min(line_start + line.len()).max(start)].chars().count().max(1);
        let skipped = before.saturating_sub(SHOWN_MAX * 2 / 3);
        let plain = |c: char| if c.is_control() { if c == '\t' { ' ' } else { '\u{fffd}' } } else { c };
        let cut: String = line.chars().skip(skipped).take(SHOWN_MAX).map(plain).collect();
        let gutter = " ".repeat(number.to_string().len());
        let marks = "^".repeat(marked.min(SHOWN_MAX.saturating_sub(before - skipped)).max(1));
        let indent = " ".repeat(before - skipped);
        let shown_line = format!("{number} | {cut}");
        let snippet = format!("{gutter} |\n{}\n{gutter} | {indent}{marks}\n", shown_line.trim_end());
        (number, before + 1, snippet)
    }
}

/// The place of the value at the end of `path`, or of the last one on the way that is written down. A table is shown by its key.
fn find(tree: &Tree, path: &Path, is_of_key: bool) -> Range<usize> {
    let mut value = tree;
    let mut span = 0..0;
    for step in &path.0 {
        match step {
            Step::Key(key) => {
                let Some(entry) = value.entry(key) else { break };
                value = &entry.value;
                span = if is_of_key || matches!(value.node, Node::Table(_)) { entry.key_span.clone() } else { value.span.clone() };
            }
            Step::Item(at) => {
                let Some(item) = value.item(*at) else { break };
                value = item;
                span = value.span.clone();
            }
        }
    }
    span
}
