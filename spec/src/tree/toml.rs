//! TOML, by its parser's own tree with places.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DEPTH_MAX, Entry, Node, Tree};
use crate::fault::{Fault, shown};

/// Reads a text.
///
/// # Errors
/// All that is wrong with its form.
pub(crate) fn from_toml(text: &str) -> Result<Tree, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| fault(text, error)).collect());
    }
    let span = table.span();
    let node = entries(table.into_inner(), 0).map_err(|fault| vec![fault])?;
    Ok(Tree { span, node })
}

/// What the parser complains of. Its messages are phrases, sometimes of two lines.
fn fault(text: &str, error: &toml::de::Error) -> Fault {
    // It does not say where a key of too many parts is.
    let span = error.span().unwrap_or_else(|| most_dots(text));
    let meant = text.get(span.clone()).unwrap_or_default();
    let control = text.get(span.start..).and_then(|rest| rest.chars().next()).filter(|c| c.is_control() && !matches!(c, '\n' | '\r'));
    let what = match (error.message(), control) {
        ("duplicate key", _) => format!("{} is here twice; leave one", shown(meant)),
        ("recursion limit", _) => "this key has more parts than a spec can need".to_owned(),
        (_, Some(c)) => format!("this is no TOML: the control character U+{:04X} may not stand here", u32::from(c)),
        (message, None) => format!("this is no TOML: {}", message.lines().map(str::trim).collect::<Vec<_>>().join(", ")),
    };
    Fault::of_text(span, what)
}

fn most_dots(text: &str) -> Range<usize> {
    let dots = |line: &&str| line.matches('.').count();
    let line = text.lines().max_by_key(dots).unwrap_or_default();
    let start = (line.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    start..start + line.len()
}

fn entries(table: DeTable<'_>, depth: usize) -> Result<Node, Fault> {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let key_span = key.span();
        Ok(Entry { key: key.into_inner().into_owned(), key_span, value: tree(value, depth + 1)? })
    };
    let mut entries: Vec<Entry> = table.into_iter().map(entry).collect::<Result<_, _>>()?;
    // The parser's table is in the order of the alphabet; faults are told in the order of the text.
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Node::Table(entries))
}

fn tree(value: Spanned<DeValue<'_>>, depth: usize) -> Result<Tree, Fault> {
    let span = value.span();
    if depth > DEPTH_MAX {
        return Err(Fault::of_text(span, format!("values are nested deeper than {DEPTH_MAX} levels; a spec needs three")));
    }
    let node = match value.into_inner() {
        DeValue::String(text) => Node::Text(text.into_owned()),
        DeValue::Integer(integer) => self::integer(integer.as_str(), integer.radix(), &span)?,
        DeValue::Float(float) => Node::Float(float.as_str().parse().map_err(|_| Fault::of_text(span.clone(), "this is no number".into()))?),
        DeValue::Boolean(value) => Node::Bool(value),
        DeValue::Datetime(_) => Node::Time,
        DeValue::Array(items) => Node::List(items.into_iter().map(|item| tree(item, depth + 1)).collect::<Result<_, _>>()?),
        DeValue::Table(table) => entries(table, depth)?,
    };
    Ok(Tree { span, node })
}

fn integer(digits: &str, radix: u32, span: &Range<usize>) -> Result<Node, Fault> {
    i64::from_str_radix(digits, radix)
        .map(Node::Integer)
        .or_else(|_| u64::from_str_radix(digits, radix).map(Node::Large))
        .map_err(|_| Fault::of_text(span.clone(), "this number is larger than any that a spec can hold".to_owned()))
}
