//! TOML, by its parser's own tree with places.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DEPTH_MAX, Entry, Node, Tree};
use crate::fault::Fault;

/// Reads a text.
///
/// # Errors
/// All that is wrong with its form.
pub(crate) fn from_toml(text: &str) -> Result<Tree, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| Fault::of_text(error.span().unwrap_or(0..0), sentence(error.message()));
        return Err(errors.iter().map(fault).collect());
    }
    let span = table.span();
    let node = entries(table.into_inner(), 0).map_err(|fault| vec![fault])?;
    Ok(Tree { span, node })
}

/// The parser's message is a phrase, sometimes of two lines.
fn sentence(message: &str) -> String {
    let joined = message.lines().map(str::trim).collect::<Vec<_>>().join(", ");
    format!("this is no TOML: {joined}")
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
