//! What neither the compiler nor Cargo guards: who imports whom, what the pure core may know, where `unsafe` may stand, and that
//! nothing unfinished lies about. It reads the text of the repository, and nothing else.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a source file may have.
const LINES_MAX: usize = 500;

/// Crates of this workspace, and which of the others each may use.
const WALLS: [(&str, &[&str]); 7] = [
    ("cluster", &[]),
    ("worker", &[]),
    ("gateway", &["cluster"]),
    ("agent", &["cluster", "gateway"]),
    ("spec", &["cluster"]),
    ("controller", &["cluster", "gateway", "spec"]),
    (".", &["cluster", "worker", "gateway", "agent", "controller", "spec"]),
];

/// A file of the repository.
struct Text {
    /// Its path from the root, with `/`.
    path: String,
    text: String,
}

impl Text {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Numbered lines without comments; what stands in a string is kept.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.map(|(number, line)| {
            (
                number,
                line.split_once("//").map_or(line, |(code, comment)| if code.ends_with(':') || comment.is_empty() { line } else { code }),
            )
        })
    }

    /// It holds tests and nothing else.
    fn is_all_tests(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// The code outside of its unit tests, which stand at the end of a file or in one of their own.
    fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let has_any = !self.path.ends_with("/tests.rs");
        self.code().take_while(move |(_, line)| has_any && line.trim() != "#[cfg(test)]" && !line.trim().starts_with("#[cfg(all(test"))
    }

    /// The code of its tests.
    fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let product = if self.is_all_tests() { 0 } else { self.product_code().count() };
        self.code().skip(product)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files of the repository: what was built, and what belongs to git, is left out.
fn texts() -> Vec<Text> {
    fn visit(directory: &Path, found: &mut Vec<Text>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules" | "proptest-regressions") {
                    visit(&path, found);
                }
            } else if name == ".git" {
                // That of a work tree is a file.
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Text { path, text });
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), &mut found);
    assert!(found.len() > 50, "this is not the repository: {found}", found = found.len());
    found
}

/// Fails with everything that was found.
#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// `word` stands in `line`, with no letter, digit or `_` beside it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The names in the tables of a Cargo.toml whose headings end with this: those for one system too.
fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.trim_end_matches(']');
            is_inside = heading == table || (heading.starts_with("target.") && heading.ends_with(&format!(".{table}")));
        } else if is_inside && !line.is_empty() && !line.starts_with('#') {
            names.push(line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned());
        }
    }
    names
}

fn manifest(member: &str) -> String {
    fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap()
}

#[test]
fn crates_use_only_those_below_them() {
    let ours: Vec<&str> = WALLS.iter().map(|(name, _)| *name).chain(["ostler"]).collect();
    for (member, may_use) in WALLS {
        let manifest = manifest(member);
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let breaches: Vec<String> = dependencies(&manifest, table)
                .into_iter()
                .filter(|name| ours.contains(&name.as_str()) && !may_use.contains(&name.as_str()))
                .collect();
            assert_none(&format!("{member} must not use"), &breaches);
        }
    }
    let core = dependencies(&manifest("cluster"), "dependencies");
    assert_eq!(core, ["serde", "thiserror"], "the pure core uses nothing else");
    let for_tests = dependencies(&manifest("."), "dev-dependencies");
    assert!(!for_tests.iter().any(|name| ours.contains(&name.as_str())), "tests hold the built programs only: {for_tests:?}");
}

#[test]
fn every_member_is_guarded_here_and_tested_by_default() {
    let manifest = manifest(".");
    let list = |key: &str| {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        let mut names: Vec<String> = line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        names.sort();
        names
    };
    let mut known: Vec<String> = WALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(list("members"), known);
    assert_eq!(list("default-members"), known, "or `cargo test` would run the root package only");
}

#[test]
fn outer_tests_use_none_of_our_code() {
    let ours = ["ostler", "cluster", "controller", "gateway", "agent", "worker", "spec"];
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.is_rust() && text.path.starts_with("tests/")) {
        for (number, line) in text.code() {
            let uses = |name: &&str| {
                let path = format!("{name}::");
                line.match_indices(&path)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '"')))
            };
            if ours.iter().any(uses) || line.trim_start().starts_with("extern crate") {
                found.push(format!("{}:{number}: {line}", text.path));
            }
        }
    }
    assert_none("code of ours in the outer tests", &found);
}

#[test]
fn the_core_is_pure() {
    let allowed_roots = ["std", "serde", "thiserror", "crate", "self", "super"];
    let allowed_std = ["collections", "fmt", "str", "net", "mem", "cmp", "ops", "num", "iter", "convert", "borrow", "sync"];
    let banned = [
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "RandomState",
        "rand",
        "tokio",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "std::fs",
        "std::env",
        "std::io",
        "std::thread",
        "std::process",
        "println",
        "eprintln",
        "dbg",
        "Mutex",
        "RwLock",
        "async",
        "await",
        "static",
        "extern",
    ];
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.is_rust() && text.path.starts_with("cluster/src/")) {
        for (number, line) in text.product_code() {
            let mut complain = |what: &str| found.push(format!("{}:{number}: {what}: {}", text.path, line.trim()));
            let declaration = line.trim_start().strip_prefix("pub ").unwrap_or(line.trim_start());
            if let Some(path) = declaration.strip_prefix("use ") {
                let mut segments = path.split([':', '{', ';', ' ', ',']).filter(|segment| !segment.is_empty());
                let first = segments.next().unwrap_or_default();
                // A module of the crate itself may be named without `crate::` in its root.
                let is_own = root().join("cluster/src").join(format!("{first}.rs")).exists();
                if !is_own && !allowed_roots.contains(&first) {
                    complain("an import that is not allowed");
                }
                if first == "std" && !segments.next().is_some_and(|second| allowed_std.contains(&second)) {
                    complain("a part of std that is not allowed");
                }
            }
            // Words of a person in a string are no code.
            let code: String = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
            for word in banned {
                let is_lifetime = word == "static" && code.contains("'static");
                if has_word(&code, word) && !is_lifetime {
                    complain(&format!("`{word}`"));
                }
            }
        }
    }
    assert_none("the core reads no clock, draws no random number, does no IO", &found);
}

/// The agent's system modules, and the tests that start its processes under odd circumstances.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("agent/src/os/") || path.starts_with("agent/tests/")
}

#[test]
fn unsafe_stands_in_the_agents_system_modules_only() {
    let all = texts();
    let crate_roots: Vec<&Text> = all
        .iter()
        .filter(|text| text.path.ends_with("src/lib.rs") || text.path.ends_with("src/main.rs") || text.path.starts_with("src/bin/"))
        .filter(|text| text.path != "agent/src/lib.rs")
        .collect();
    assert!(crate_roots.len() >= 8, "the roots of the crates were not found");
    let open: Vec<String> = crate_roots
        .iter()
        .filter(|text| !text.text.lines().any(|line| line == "#![forbid(unsafe_code)]"))
        .map(|text| text.path.clone())
        .collect();
    assert_none("no forbid(unsafe_code) in", &open);

    let mut found = Vec::new();
    for text in all.iter().filter(|text| text.is_rust() && !may_be_unsafe(&text.path) && text.path != "tests/tidy.rs") {
        for (number, line) in text.code().filter(|(_, line)| has_word(line, "unsafe")) {
            found.push(format!("{}:{number}: {line}", text.path));
        }
    }
    assert_none("unsafe outside of the agent's system modules", &found);
}

#[test]
fn every_unsafe_block_has_its_argument() {
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.is_rust() && may_be_unsafe(&text.path)) {
        let lines: Vec<&str> = text.text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| has_word(line.split("//").next().unwrap_or_default(), "unsafe")) {
            let has_argument = lines[at.saturating_sub(6)..=at].iter().any(|line| line.contains("SAFETY") || line.contains("# Safety"));
            if !has_argument && !line.contains("unsafe_code") {
                found.push(format!("{}:{}: {line}", text.path, at + 1));
            }
        }
    }
    assert_none("unsafe without its SAFETY comment", &found);
}

#[test]
fn a_file_holds_one_noun_and_is_named_by_it() {
    let vague = ["util", "utils", "common", "helper", "helpers", "misc", "shared", "types"];
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.is_rust()) {
        if text.path.split(['/', '.']).any(|part| vague.contains(&part)) {
            found.push(format!("{}: a name that says nothing", text.path));
        }
        let lines = text.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{}: {lines} lines", text.path));
        }
        let first = text.text.lines().next().unwrap_or_default();
        if !first.starts_with("//!") {
            found.push(format!("{}: it does not open with what it does", text.path));
        }
    }
    assert_none("files to split, to name or to explain", &found);
}

#[test]
fn nothing_is_unfinished() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let calls = [concat!("to", "do!("), concat!("unimplemented", "!("), concat!("db", "g!(")];
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.path != "Cargo.lock") {
        for (at, line) in text.text.lines().enumerate() {
            if marks.iter().any(|mark| has_word(line, mark)) || (text.is_rust() && calls.iter().any(|call| line.contains(call))) {
                found.push(format!("{}:{}: {}", text.path, at + 1, line.trim()));
            }
        }
    }
    assert_none("unfinished", &found);
}

/// The longest pause between two looks at a condition, in milliseconds.
const PAUSE_MS_MAX: u64 = 10;

#[test]
fn tests_wait_for_conditions() {
    let pause_ms = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once("from_millis(")?;
        rest.split(')').next()?.replace('_', "").parse().ok()
    };
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.is_rust() && text.path != "tests/tidy.rs" && !text.path.ends_with("/wait.rs")) {
        let lines: Vec<&str> = text.text.lines().collect();
        for (number, line) in text.test_code().filter(|(_, line)| line.contains("thread::sleep(") || line.contains("time::sleep(")) {
            let is_pause = pause_ms(line).is_some_and(|ms| ms <= PAUSE_MS_MAX);
            // Where the passing of time is itself what is tested, a comment says so.
            let has_reason = lines[number.saturating_sub(4)..number - 1].iter().any(|line| line.trim_start().starts_with("//"));
            if !is_pause && !has_reason {
                found.push(format!("{}:{number}: {}", text.path, line.trim()));
            }
        }
    }
    assert_none("tests that sleep, and do not say why no condition would do", &found);
}

#[test]
fn texts_are_clean() {
    let mut found = Vec::new();
    for text in &texts() {
        for (at, line) in text.text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                found.push(format!("{}:{}: white space at the end", text.path, at + 1));
            }
            if text.is_rust() && line.contains('\t') {
                found.push(format!("{}:{}: a tab", text.path, at + 1));
            }
        }
        if !text.text.is_empty() && !text.text.ends_with('\n') {
            found.push(format!("{}: no line end at its end", text.path));
        }
    }
    assert_none("untidy", &found);
}

#[test]
fn nothing_points_to_one_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("C:\\", "Users")];
    let mut found = Vec::new();
    for text in &texts() {
        for (at, line) in text.text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                found.push(format!("{}:{}: {}", text.path, at + 1, line.trim()));
            }
            let is_foreign = text.path == "Cargo.lock"
                && line.starts_with("source = ")
                && !line.contains("registry+https://github.com/rust-lang/crates.io-index");
            if is_foreign {
                found.push(format!("{}:{}: {line}", text.path, at + 1));
            }
        }
    }
    assert_none("paths and registries of one machine", &found);
}
