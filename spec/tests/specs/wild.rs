//! Whatever comes in, nothing panics.

use proptest::prelude::*;
use spec::{Format, parse};

/// A spec in which everything is said.
pub const WHOLE: &str = r#"name = "shop"
command = ["./shop", "--port", "{port}", "{{port}}"]
replicas = 4
default = true
socket = "pass"
uses = ["db", "cache"]
env = { COLOUR = "red", WHERE = "{host}" }

[artifact]
url = "https://example.com/shop.tar.gz"
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

[[route]]
host = "*.example.com"
path = "/api"
strip_prefix = true

[[health]]
kind = "http"
path = "/healthz"
status = "200-299"
for = "both"
interval = "1s"

[[health]]
kind = "exec"
command = ["./check"]
for = "liveness"

[restart]
when = "on-failure"
first = "250ms"

[limits]
memory = "64MiB"
cpu = 0.5
pids = 100
core = "0"
nice = -5
strict = true

[placement]
constraints = ["zone=a", "!gpu"]
spread = "rack"
max_per_node = 2

[stop]
drain = "1m"

[gateway]
balance = "cookie:session"
max_ejected = 0
protocol = "h2c"
hold = "0s"

[logs]
max_size = "1MB"

[run_as]
user = "www-data"
umask = "027"

[sandbox]
read = ["/srv"]
"#;

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize, usize),
    Put(usize, Vec<u8>),
    Double(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let scrap = prop_oneof![
        Just(b"\"".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]]".to_vec()),
        Just(b" = ".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\\u".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just("\u{e4}\u{1f600}".as_bytes().to_vec()),
        Just(b"{".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..4),
    ];
    prop_oneof![
        (any::<usize>(), 1..40usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<usize>(), scrap).prop_map(|(at, scrap)| Change::Put(at, scrap)),
        (any::<usize>(), 1..200usize).prop_map(|(at, length)| Change::Double(at, length)),
    ]
}

fn changed(text: &str, changes: Vec<Change>) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        let length = bytes.len();
        let part =
            |at: usize, count: usize| at % (length + 1)..(at % (length + 1)).saturating_add(count).min(length).max(at % (length + 1));
        match change {
            Change::Cut(at, count) => {
                bytes.drain(part(at, count));
            }
            Change::Put(at, scrap) => {
                let at = at % (length + 1);
                bytes.splice(at..at, scrap);
            }
            Change::Double(at, count) => {
                let part = part(at, count);
                let again = bytes[part.clone()].to_vec();
                bytes.splice(part.start..part.start, again);
            }
        }
    }
    bytes
}

fn check(bytes: &[u8], format: Format) {
    match parse(bytes, "x", format) {
        // What was taken can be written, and is the same when it is read again.
        Ok(app) => assert_eq!(parse(spec::render(&app).as_bytes(), "x", Format::Toml).unwrap(), app),
        Err(error) => {
            assert!(!error.faults.is_empty());
            let lines = String::from_utf8_lossy(bytes).matches('\n').count() + 1;
            assert!(error.faults.iter().all(|fault| (1..=lines).contains(&fault.line) && fault.column >= 1), "{error:?}");
            assert!(error.report().lines().count() >= 4);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_at_all_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes, Format::Toml);
        check(&bytes, Format::Json);
    }

    #[test]
    fn no_change_of_a_good_spec_does_harm(changes in proptest::collection::vec(change(), 1..6)) {
        check(&changed(WHOLE, changes), Format::Toml);
    }

    #[test]
    fn no_change_of_a_good_spec_in_json_does_harm(changes in proptest::collection::vec(change(), 1..6)) {
        let app = parse(WHOLE.as_bytes(), "x", Format::Toml).unwrap();
        check(&changed(&format!("{:#}", spec::render_json(&app)), changes), Format::Json);
    }
}
