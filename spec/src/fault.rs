//! What is wrong with a spec, and with which value of it.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Expected, Unexpected};

use crate::suggest;

/// The most faults of one spec that are told.
pub(crate) const FAULTS_MAX: usize = 20;

/// One step from a value to one inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(at: usize) -> Self {
        Step::Item(at)
    }
}

/// The way from the root of a spec to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Step>);

/// As people write it: `health[0].path`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(item) => write!(f, "[{item}]")?,
                Step::Key(key) => write!(f, "{}{}", if at == 0 { "" } else { "." }, shown(key))?,
            }
        }
        Ok(())
    }
}

impl Path {
    /// As a JSON pointer (RFC 6901): `/health/0/path`.
    pub(crate) fn pointer(&self) -> String {
        let step = |step: &Step| match step {
            Step::Item(item) => format!("/{item}"),
            Step::Key(key) => format!("/{}", shown(key).replace('~', "~0").replace('/', "~1")),
        };
        self.0.iter().map(step).collect()
    }
}

/// A text of the spec as a message repeats it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Makes a [`Path`] of keys and positions.
macro_rules! at {
    ($($step:expr),* $(,)?) => { $crate::fault::Path(vec![$($crate::fault::Step::from($step)),*]) };
}
pub(crate) use at;

/// One thing that is wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Fault {
    /// With which value.
    pub(crate) path: Path,
    /// Where it stands, where that is known already.
    pub(crate) span: Option<Range<usize>>,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
    /// It is about the key of this value.
    pub(crate) is_of_key: bool,
    /// It is about a key that is absent.
    pub(crate) missing: Option<&'static str>,
    /// It is about a key that was probably meant to be this one.
    pub(crate) meant: Option<&'static str>,
}

impl Fault {
    /// With the text itself, before any value is known.
    pub(crate) fn of_text(span: Range<usize>, what: String) -> Self {
        Fault { path: Path::default(), span: Some(span), what, is_of_key: false, missing: None, meant: None }
    }

    /// With the value at the end of this path.
    pub(crate) fn at(path: Path, what: impl Into<String>) -> Self {
        Fault { path, span: None, what: what.into(), is_of_key: false, missing: None, meant: None }
    }

    fn of_value(what: String) -> Self {
        Fault { path: Path::default(), span: None, what, is_of_key: false, missing: None, meant: None }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::of_value(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = wanted(expected);
        let quoted = match found {
            Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_)
                if wanted.starts_with("a text") =>
            {
                format!("; write it in quotes, as in \"{}\"", literal(found))
            }
            _ => String::new(),
        };
        Fault::of_value(format!("this is {}, and should be {wanted}{quoted}", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::of_value(format!("this is {}, and should be {}", literal(found), range(expected)))
    }

    fn unknown_variant(found: &str, words: &'static [&'static str]) -> Self {
        Fault::of_value(format!("there is no \"{}\" here{}", shown(found), suggest::one_of(found, words)))
    }

    fn unknown_field(key: &str, keys: &'static [&'static str]) -> Self {
        let what = format!("there is no key \"{}\" here{}", shown(key), suggest::one_of(key, keys));
        Fault { meant: suggest::nearest(key, keys), ..Fault::of_value(what) }
    }

    fn missing_field(key: &'static str) -> Self {
        Fault { missing: Some(key), ..Fault::of_value(format!("the key \"{key}\" is missing here; add it")) }
    }
}

fn literal(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Str(text) => format!("\"{}\"", shown(text)),
        other => other.to_string(),
    }
}

fn kind(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_) => format!("the number {}", literal(found)),
        Unexpected::Str(_) => format!("the text {}", literal(found)),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Unit => "null".to_owned(),
        other => other.to_string(),
    }
}

/// What serde calls things, in the words of who writes a spec.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list in [ ]".to_owned(),
        "a map" => "a table of keys and values".to_owned(),
        "u8" | "u32" | "u64" => "a whole number, 0 or more".to_owned(),
        "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        other => other.to_owned(),
    }
}

/// What a whole number may be where another one was given.
fn range(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "i32" => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        _ => wanted(expected),
    }
}

/// All that is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, path: Path, what: impl Into<String>) {
        self.0.push(Fault::at(path, what));
    }

    /// With the key of this value.
    pub(crate) fn add_of_key(&mut self, path: Path, what: impl Into<String>) {
        self.0.push(Fault { is_of_key: true, ..Fault::at(path, what) });
    }
}
