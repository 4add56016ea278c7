//! How each hostile spec is told. The texts are in `messages.txt`, so that a change of one is read by somebody.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use spec::{Format, SpecError, parse};

use crate::cases::{self, Case};

/// With this variable the texts are written anew.
const RENEW: &str = "OSTLER_RENEW_MESSAGES";
/// The most characters of a spec that are shown beside its message.
const SHOWN_MAX: usize = 200;

fn refuse(case: &Case) -> SpecError {
    let format = if case.is_json { Format::Json } else { Format::Toml };
    match parse(&case.bytes, "shop.toml", format) {
        Ok(app) => panic!("{} was taken: {app:?}", case.what),
        Err(error) => error,
    }
}

#[test]
fn every_hostile_spec_is_refused_with_a_place_and_a_sentence() {
    let cases = cases::all();
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in &cases {
        let error = refuse(case);
        assert!((1..=20).contains(&error.faults.len()), "{}: {} faults", case.what, error.faults.len());
        for fault in &error.faults {
            assert!(fault.line >= 1 && fault.column >= 1 && fault.message.len() > 10, "{}: {fault:?}", case.what);
            assert!(!error.sentence(fault).contains(char::is_control), "{}: {fault:?}", case.what);
            assert!(error.sentence(fault).len() < 600, "{}: {fault:?}", case.what);
            assert!(!fault.snippet.contains(|c: char| c.is_control() && c != '\n'), "{}: {fault:?}", case.what);
            assert!(fault.snippet.lines().all(|line| line.chars().count() < 120), "{}: {fault:?}", case.what);
        }
    }
}

#[test]
fn the_messages_are_those_that_were_read() {
    let mut told = String::new();
    for case in cases::all() {
        let _ = writeln!(told, "== {}", case.what);
        let text = String::from_utf8_lossy(&case.bytes);
        if text.chars().count() <= SHOWN_MAX && !text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{fffd}') {
            told.extend(text.trim_end().lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n"));
        }
        let _ = write!(told, "{}", refuse(&case).report());
        told.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/messages.txt");
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let read = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = read.lines().zip(told.lines()).find(|(read, told)| read != told);
    assert!(read == told, "{difference:?}: if that is as it should be, `{RENEW}=1 cargo test -p spec` writes {}", path.display());
}

#[test]
fn the_largest_spec_of_faults_takes_no_time() {
    let strange: String = (0..30_000).map(|nth| format!("k{nth}=1\n")).collect();
    let members: String = (0..15_000).map(|nth| format!("\"k{nth}\":[1],")).collect();
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, format) in [(strange, Format::Toml), (format!("{{{members}\"x\":1}}"), Format::Json), (nested, Format::Json)] {
        let began = Instant::now();
        assert!(text.len() < spec::SPEC_BYTES_MAX, "{}", text.len());
        assert!(parse(text.as_bytes(), "x", format).is_err());
        // Quadratic in any of its parts it would be minutes.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn a_spec_of_an_editor_that_puts_a_mark_in_front_is_taken() {
    let text = crate::with("replicas = 2\r\n");
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert_eq!(parse(&marked, "x", Format::Toml).unwrap(), parse(text.as_bytes(), "x", Format::Toml).unwrap());
    let json = "\u{feff}{\"name\":\"shop\",\"command\":[\"./shop\"]}";
    assert_eq!(parse(json.as_bytes(), "x", Format::Json).unwrap().name.as_str(), "shop");
}

#[test]
fn a_sentence_names_file_line_and_column_and_counts_the_rest() {
    let error = parse(b"nmae = \"shop\"\ncommand = [\"x\"]\nreplica = 4\n", "apps/shop.toml", Format::Toml).unwrap_err();
    assert_eq!(error.to_string(), "apps/shop.toml:1:1: nmae: there is no key \"nmae\" here; did you mean \"name\"? (and 1 more)");
    assert_eq!((error.faults[1].line, error.faults[1].column), (3, 1));
}
