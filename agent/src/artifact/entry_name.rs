//! Which names of an archive's entries are taken: those that mean one place below the directory, on every system.

/// The longest part of a path, in bytes: what file systems take.
const PART_BYTES_MAX: usize = 255;
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_024;
/// The most parts of a path.
const DEPTH_MAX: usize = 64;
/// The most characters of a name that are shown.
const SHOWN_MAX: usize = 80;

/// Why a name is not taken. Words that follow the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not UTF-8.
    #[error("its name is no UTF-8")]
    NotUtf8,
    /// A path that begins at the root, of this system or another.
    #[error("its name is an absolute path")]
    Absolute,
    /// A drive of Windows.
    #[error("its name begins with a drive")]
    Drive,
    /// `..`
    #[error("its name leads out of the directory (\"..\")")]
    Parent,
    /// Two slashes in a row, or no name at all.
    #[error("its name has an empty part")]
    Empty,
    /// `.` where it means nothing.
    #[error("its name has \".\" as a part")]
    Dot,
    /// A separator of Windows.
    #[error("its name has a backslash")]
    Backslash,
    /// A NUL, or another character that no name has.
    #[error("its name has a control character")]
    Control,
    /// Windows drops what stands there.
    #[error("a part of its name ends with a dot or a space")]
    TrailingDotOrSpace,
    /// Too long.
    #[error("its name is longer than {PATH_BYTES_MAX} bytes, or a part of it than {PART_BYTES_MAX}")]
    TooLong,
    /// Too deep.
    #[error("it lies more than {DEPTH_MAX} directories deep")]
    TooDeep,
}

/// Checks one part of a path.
pub fn check_part(part: &str) -> Result<(), BadName> {
    match part {
        "" => return Err(BadName::Empty),
        "." => return Err(BadName::Dot),
        ".." => return Err(BadName::Parent),
        _ => {}
    }
    if part.contains('/') {
        return Err(BadName::Absolute);
    }
    if part.contains('\\') {
        return Err(BadName::Backslash);
    }
    if part.chars().any(char::is_control) {
        return Err(BadName::Control);
    }
    if part.ends_with(['.', ' ']) {
        return Err(BadName::TrailingDotOrSpace);
    }
    if part.len() > PART_BYTES_MAX { Err(BadName::TooLong) } else { Ok(()) }
}

/// The path that an entry's name means, below the directory; empty for the directory itself. A leading `./` and a trailing `/` are
/// dropped, since many archives have them.
pub fn path_of(name: &[u8]) -> Result<&str, BadName> {
    let name = std::str::from_utf8(name).map_err(|_| BadName::NotUtf8)?;
    if name.len() > PATH_BYTES_MAX {
        return Err(BadName::TooLong);
    }
    if name.starts_with(['/', '\\']) {
        return Err(BadName::Absolute);
    }
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if matches!(name, "." | "./") {
        return Ok("");
    }
    let path = name.strip_prefix("./").unwrap_or(name);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.as_bytes().get(1) == Some(&b':') && path.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(BadName::Drive);
    }
    path.split('/').try_for_each(check_part)?;
    if path.split('/').count() > DEPTH_MAX { Err(BadName::TooDeep) } else { Ok(path) }
}

/// A name as it may be shown: nothing that a terminal would obey, and not too long.
pub fn shown(name: &[u8]) -> String {
    let text = name.escape_ascii().to_string();
    let text = std::str::from_utf8(name).map_or(text, |name| name.chars().flat_map(char::escape_debug).collect());
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("\"{}...\"", &text[..at]),
        None => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        let good: [(&[u8], &str); 8] = [
            (b"a", "a"),
            (b"bin/x", "bin/x"),
            (b"./bin/x", "bin/x"),
            (b"bin/", "bin"),
            (b"./", ""),
            (b".", ""),
            (b".hidden/..data/a..b/Foo::Bar.3pm", ".hidden/..data/a..b/Foo::Bar.3pm"),
            ("grün/ß".as_bytes(), "grün/ß"),
        ];
        for (name, path) in good {
            assert_eq!(path_of(name), Ok(path), "{}", shown(name));
        }
    }

    #[test]
    fn names_that_mean_another_place_somewhere_are_refused() {
        let long = [b"x".repeat(256), b"x/".repeat(65), b"y/".repeat(600)];
        let bad: [(&[u8], BadName); 26] = [
            (b"", BadName::Empty),
            (b"/etc/passwd", BadName::Absolute),
            (b"//server/share", BadName::Absolute),
            (b"\\\\server\\share", BadName::Absolute),
            (b"\\x", BadName::Absolute),
            (b"C:/x", BadName::Drive),
            (b"./c:x", BadName::Drive),
            (b"C:\\x", BadName::Drive),
            (b"..", BadName::Parent),
            (b"../x", BadName::Parent),
            (b"a/../../x", BadName::Parent),
            (b"a/..", BadName::Parent),
            (b"./../x", BadName::Parent),
            (b"a\\..\\x", BadName::Backslash),
            (b"a//x", BadName::Empty),
            (b".//x", BadName::Empty),
            (b"x//", BadName::Empty),
            (b"a/./x", BadName::Dot),
            (b"a\0b", BadName::Control),
            (b"a\nb", BadName::Control),
            (b"a\x1b[31m", BadName::Control),
            (b"a.", BadName::TrailingDotOrSpace),
            (b"a /x", BadName::TrailingDotOrSpace),
            (b"a/...", BadName::TrailingDotOrSpace),
            (b"\xff\xfe", BadName::NotUtf8),
            (&long[0], BadName::TooLong),
        ];
        for (name, why) in bad {
            assert_eq!(path_of(name), Err(why), "{}", shown(name));
        }
        assert_eq!(path_of(&long[1]), Err(BadName::TooDeep));
        assert_eq!(path_of(&long[2]), Err(BadName::TooLong));
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown(b"a\n\x1b[31m\xff"), "\"a\\n\\x1b[31m\\xff\"");
        assert_eq!(shown("é\u{202e}\n".as_bytes()), "\"é\\u{202e}\\n\"");
        assert!(shown(&b"x".repeat(1_000)).len() < 90);
    }
}
