//! JSON, value by value: what is inside of one is read from its own piece of the text, so its place is known.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DEPTH_MAX, Entry, Node, Tree};
use crate::fault::{Fault, shown};

/// Reads a text.
///
/// # Errors
/// What is wrong with its form.
pub(crate) fn from_json(text: &str) -> Result<Tree, Vec<Fault>> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| vec![broken(text, 0..text.len(), &error)])?;
    Reader { text }.tree(whole, 0).map_err(|fault| vec![fault])
}

struct Reader<'t> {
    text: &'t str,
}

impl<'t> Reader<'t> {
    fn tree(&self, raw: &'t RawValue, depth: usize) -> Result<Tree, Fault> {
        let piece = raw.get();
        let start = self.offset(piece);
        let span = start..start + piece.len();
        if depth > DEPTH_MAX {
            return Err(Fault::of_text(span, format!("values are nested deeper than {DEPTH_MAX} levels; a spec needs three")));
        }
        let broken = |error: serde_json::Error| broken(self.text, span.clone(), &error);
        let node = match piece.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'t> = serde_json::from_str(piece).map_err(broken)?;
                self.table(members, start, depth)?
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(piece).map_err(broken)?;
                Node::List(items.into_iter().map(|item| self.tree(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Node::Text(serde_json::from_str(piece).map_err(broken)?),
            Some(b't' | b'f') => Node::Bool(serde_json::from_str(piece).map_err(broken)?),
            Some(b'n') => Node::Null,
            _ => number(piece).ok_or_else(|| Fault::of_text(span.clone(), "this number is larger than any that a spec can hold".into()))?,
        };
        Ok(Tree { span, node })
    }

    fn table(&self, members: Members<'t>, start: usize, depth: usize) -> Result<Node, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known = BTreeSet::new();
        // Past the brace.
        let mut behind = start + 1;
        for (key, raw) in members.0 {
            let value = self.tree(raw, depth + 1)?;
            let key_span = self.key(behind..value.span.start);
            behind = value.span.end;
            if !known.insert(key.clone()) {
                return Err(Fault::of_text(key_span, format!("the key \"{}\" is here twice; leave one", shown(&key))));
            }
            entries.push(Entry { key, key_span, value });
        }
        Ok(Node::Table(entries))
    }

    /// The key stands in quotes between two values.
    fn key(&self, between: Range<usize>) -> Range<usize> {
        let gap = &self.text[between.clone()];
        match (gap.find('"'), gap.rfind('"')) {
            (Some(first), Some(last)) => between.start + first..between.start + last + 1,
            _ => between,
        }
    }

    /// Every piece is borrowed from the text.
    fn offset(&self, piece: &str) -> usize {
        (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize).min(self.text.len())
    }
}

fn number(piece: &str) -> Option<Node> {
    if let Ok(integer) = piece.parse() {
        return Some(Node::Integer(integer));
    }
    if let Ok(large) = piece.parse() {
        return Some(Node::Large(large));
    }
    let float: f64 = piece.parse().ok()?;
    float.is_finite().then_some(Node::Float(float))
}

/// What the parser complains of, at its line and column within `span`.
fn broken(text: &str, span: Range<usize>, error: &serde_json::Error) -> Fault {
    let piece = &text[span.clone()];
    let line_start: usize = piece.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (span.start + line_start + error.column().saturating_sub(1)).min(span.end);
    let message = error.to_string();
    let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    Fault::of_text(at..at, format!("this is no JSON: {what}"))
}

/// The members of an object in their order, doubles too.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}
