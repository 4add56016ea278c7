//! Placeholders in the command and the environment of an app: what differs from replica to replica.
//!
//! A `{` with small letters and a `}` behind it is one; `{{port}}` stands for the text `{port}`. All other braces are left as they are, so that
//! JSON and `${HOME}` need no care. What is put in is not looked at again.

/// The ability of an agent to put something in for them.
pub const ABILITY_PLACEHOLDERS: &str = "placeholders";
/// All there are.
pub const NAMES: [&str; 3] = ["port", "host", "replica"];

/// What is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a> {
    /// For `{port}`: the port that the replica is called at.
    pub port: &'a str,
    /// For `{host}`: the address that it is called at.
    pub host: &'a str,
    /// For `{replica}`: its id.
    pub replica: &'a str,
}

enum Part<'a> {
    Text(&'a str),
    Escaped(&'a str),
    Placeholder(&'a str),
}

/// The placeholder or the escaped one that `text` begins with, and how long it is.
fn braced(text: &str) -> Option<(Part<'_>, usize)> {
    let word = |inner: &str| inner.bytes().take_while(u8::is_ascii_lowercase).count();
    if let Some(inner) = text.strip_prefix("{{") {
        let length = word(inner);
        let is_closed = length > 0 && inner.get(length..)?.starts_with("}}");
        return is_closed.then(|| (Part::Escaped(&text[1..length + 3]), length + 4));
    }
    let inner = text.strip_prefix('{')?;
    let length = word(inner);
    let is_closed = length > 0 && inner.get(length..)?.starts_with('}');
    is_closed.then(|| (Part::Placeholder(&inner[..length]), length + 2))
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let Some((part, length)) = braced(rest) {
            rest = &rest[length..];
            return Some(part);
        }
        // The next brace; the one at the beginning is none.
        let skipped = rest.chars().next()?.len_utf8();
        let end = rest[skipped..].find('{').map_or(rest.len(), |at| at + skipped);
        let (plain, behind) = rest.split_at(end);
        rest = behind;
        Some(Part::Text(plain))
    })
}

/// The first placeholder that there is none of.
#[must_use]
pub fn unknown(text: &str) -> Option<&str> {
    parts(text).find_map(|part| match part {
        Part::Placeholder(name) if !NAMES.contains(&name) => Some(name),
        _ => None,
    })
}

/// Whether anything is to be put in, or a brace to be taken out.
#[must_use]
pub fn has_any(text: &str) -> bool {
    parts(text).any(|part| !matches!(part, Part::Text(_)))
}

/// The text with everything put in; what is unknown is left as it is.
#[must_use]
pub fn expand(text: &str, values: Values<'_>) -> String {
    let mut whole = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) | Part::Escaped(text) => whole.push_str(text),
            Part::Placeholder("port") => whole.push_str(values.port),
            Part::Placeholder("host") => whole.push_str(values.host),
            Part::Placeholder("replica") => whole.push_str(values.replica),
            Part::Placeholder(other) => {
                whole.push('{');
                whole.push_str(other);
                whole.push('}');
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALUES: Values<'_> = Values { port: "4000", host: "127.0.0.1", replica: "{port}" };

    #[test]
    fn each_is_put_in_once() {
        for (text, expected) in [
            ("{host}:{port}", "127.0.0.1:4000"),
            ("--id={replica}", "--id={port}"),
            ("{{port}}", "{port}"),
            ("{{{port}}}", "{{port}}"),
            ("x{{y}}z", "x{y}z"),
            ("{}", "{}"),
            ("{\"a\":{\"port\":1}}", "{\"a\":{\"port\":1}}"),
            ("${HOME}/{port", "${HOME}/{port"),
            ("{Port}{port }", "{Port}{port }"),
            ("{prot}", "{prot}"),
            ("\u{e4}{port}\u{e4}{", "\u{e4}4000\u{e4}{"),
            ("", ""),
        ] {
            assert_eq!(expand(text, VALUES), expected, "{text}");
        }
    }

    #[test]
    fn one_that_there_is_none_of_is_found() {
        assert_eq!(unknown("{port}{prot}"), Some("prot"));
        for good in ["{{prot}}", "{\"prot\":1}", "${PROT}", "{port}"] {
            assert_eq!(unknown(good), None, "{good}");
        }
        assert!(has_any("a{port}") && has_any("{{x}}") && !has_any("{ a }"));
    }

    proptest! {
        #[test]
        fn a_text_without_braces_stays_as_it_is(text in "[^{]*") {
            prop_assert_eq!(expand(&text, VALUES), text);
        }

        #[test]
        fn any_text_can_be_expanded(text in "[{}a-c\u{e4} port]*") {
            let _ = (unknown(&text), expand(&text, VALUES));
        }
    }
}
