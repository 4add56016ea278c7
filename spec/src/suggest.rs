//! What a misspelt word was meant to be.

/// More words than these are not listed in a message.
const LISTED_MAX: usize = 12;

/// `; did you mean "x"?`, or else what there is.
pub(crate) fn one_of(found: &str, words: &[&str]) -> String {
    if let Some(near) = nearest(found, words) {
        return format!("; did you mean \"{near}\"?");
    }
    if words.is_empty() || words.len() > LISTED_MAX {
        return "; `ostler schema --reference` has all that there is".to_owned();
    }
    format!("; there is {}", words.join(", "))
}

/// The word that is nearest to what was written, if any is near: a slip or two in a short word, a third of a long one. What the other
/// begins with counts as near too (`env` for `environment`).
pub(crate) fn nearest<'a>(found: &str, words: &[&'a str]) -> Option<&'a str> {
    const CHARS_MAX: usize = 64;
    if found.is_empty() || found.len() > CHARS_MAX {
        return None;
    }
    let lower = found.to_ascii_lowercase().replace('-', "_");
    let distance = |word: &str| strsim::osa_distance(&lower, &word.replace('-', "_"));
    let near = words.iter().map(|word| (distance(word), *word)).min().filter(|(far, word)| *far <= (word.len() / 3).max(1));
    near.map(|(_, word)| word).or_else(|| {
        let begins = |word: &&&str| word.len() >= 3 && (lower.starts_with(**word) || (lower.len() >= 3 && word.starts_with(&lower)));
        words.iter().find(begins).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_strange_word_is_not() {
        let words = ["command", "env", "on-failure", "health", "replicas"];
        for (found, near) in [
            ("comand", Some("command")),
            ("cmomand", Some("command")),
            ("Command", Some("command")),
            ("on_failure", Some("on-failure")),
            ("environment", Some("env")),
            ("replica", Some("replicas")),
            ("en", Some("env")),
            ("image", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(found, &words), near, "{found}");
        }
        assert_eq!(one_of("tcpp", &["http", "tcp"]), "; did you mean \"tcp\"?");
        assert_eq!(one_of("grpc", &["http", "tcp"]), "; there is http, tcp");
    }
}
