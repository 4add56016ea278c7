//! From a tree to a form: serde's side of [`Tree`].
//!
//! A key that a table does not have is put down and passed over, so that they are told at once. What else is wrong ends the
//! reading, with the place of the innermost value that it is about.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::fault::{FAULTS_MAX, Fault, Path, Step};
use crate::tree::{Entry, Node, Tree};

/// Reads a form.
///
/// # Errors
/// The first value that does not fit, and the keys that are unknown: the first of them where there are very many.
pub(crate) fn read<T: DeserializeOwned>(tree: &Tree) -> Result<T, Vec<Fault>> {
    let found = RefCell::new(Vec::new());
    let result = T::deserialize(Reader { tree, way: None, found: &found });
    let mut faults = found.into_inner();
    match result {
        Ok(form) if faults.is_empty() => return Ok(form),
        Ok(_) => {}
        // It is there, misspelt.
        Err(fault) if fault.missing.is_some_and(|key| faults.iter().any(|other| other.meant == Some(key))) => {}
        Err(fault) => faults.insert(0, fault),
    }
    Err(faults)
}

/// The way from the root to a value, from its end.
#[derive(Clone, Copy)]
struct Way<'a> {
    before: Option<&'a Way<'a>>,
    step: StepRef<'a>,
}

#[derive(Clone, Copy)]
enum StepRef<'a> {
    Key(&'a str),
    Item(usize),
}

fn path(way: Option<&Way<'_>>) -> Path {
    let mut steps = Vec::new();
    let mut next = way;
    while let Some(way) = next {
        steps.push(match way.step {
            StepRef::Key(key) => Step::Key(key.to_owned()),
            StepRef::Item(at) => Step::Item(at),
        });
        next = way.before;
    }
    steps.reverse();
    Path(steps)
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    tree: &'a Tree,
    way: Option<&'a Way<'a>>,
    found: &'a RefCell<Vec<Fault>>,
}

impl<'a> Reader<'a> {
    /// Says of what went wrong that it is about this value, unless it is about one inside.
    fn own<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| match fault.span {
            Some(_) => fault,
            None => Fault { path: path(self.way), span: Some(self.span()), ..fault },
        })
    }

    /// A whole table is shown by its beginning.
    fn span(self) -> std::ops::Range<usize> {
        let span = self.tree.span.clone();
        if matches!(self.tree.node, Node::Table(_)) && self.way.is_none() { 0..0 } else { span }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.tree.node {
            Node::Text(text) => Unexpected::Str(text),
            Node::Integer(value) => Unexpected::Signed(*value),
            Node::Large(value) => Unexpected::Unsigned(*value),
            Node::Float(value) => Unexpected::Float(*value),
            Node::Bool(value) => Unexpected::Bool(*value),
            Node::Null => Unexpected::Unit,
            Node::Time => Unexpected::Other("a date or a time"),
            Node::List(_) => Unexpected::Seq,
            Node::Table(_) => Unexpected::Map,
        }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.tree.node {
            Node::Text(text) => visitor.visit_str(text),
            Node::Integer(value) => visitor.visit_i64(*value),
            Node::Large(value) => visitor.visit_u64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Null | Node::Time => Err(Fault::invalid_type(self.unexpected(), &visitor)),
            Node::List(items) => visitor.visit_seq(Items { of: self, rest: items.iter().enumerate() }),
            Node::Table(entries) => visitor.visit_map(Members { of: self, rest: entries.iter(), keys: None, value: None }),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.own(self.any(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree.node {
            Node::Null => self.own(Err(Fault::custom("this is null; leave the key out instead"))),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.own(visitor.visit_newtype_struct(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, keys: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let Node::Table(entries) = &self.tree.node else {
            return self.own(Err(Fault::invalid_type(self.unexpected(), &"a table of keys and values")));
        };
        let room = FAULTS_MAX.saturating_sub(self.found.borrow().len());
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())).take(room) {
            let way = Way { before: self.way, step: StepRef::Key(&entry.key) };
            let fault = Fault::unknown_field(&entry.key, keys);
            self.found.borrow_mut().push(Fault { path: path(Some(&way)), span: Some(entry.key_span.clone()), ..fault });
        }
        self.own(visitor.visit_map(Members { of: self, rest: entries.iter(), keys: Some(keys), value: None }))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, words: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.own(match &self.tree.node {
            Node::Text(text) => {
                let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(Fault::invalid_type(self.unexpected(), &format!("one of \"{}\"", words.join("\", \"")).as_str())),
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

struct Items<'a> {
    of: Reader<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Tree>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((at, tree)) = self.rest.next() else { return Ok(None) };
        let way = Way { before: self.of.way, step: StepRef::Item(at) };
        let reader = Reader { tree, way: Some(&way), found: self.of.found };
        // What a type says of a value that it has read already is about that value too.
        reader.own(seed.deserialize(reader)).map(Some)
    }
}

struct Members<'a> {
    of: Reader<'a>,
    rest: std::slice::Iter<'a, Entry>,
    /// Those that there are; all others are passed over.
    keys: Option<&'static [&'static str]>,
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Fault;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let known = self.keys;
        let Some(entry) = self.rest.by_ref().find(|entry| known.is_none_or(|keys| keys.contains(&entry.key.as_str()))) else {
            return Ok(None);
        };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        let way = Way { before: self.of.way, step: StepRef::Key(&entry.key) };
        seed.deserialize(key).map(Some).map_err(|fault| Fault { path: path(Some(&way)), span: Some(entry.key_span.clone()), ..fault })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.value.take().ok_or_else(|| Fault::custom("a value without its key"))?;
        let way = Way { before: self.of.way, step: StepRef::Key(&entry.key) };
        let reader = Reader { tree: &entry.value, way: Some(&way), found: self.of.found };
        reader.own(seed.deserialize(reader))
    }
}
