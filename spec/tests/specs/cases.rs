//! Specs that must be refused: what operators get wrong, and what an enemy would send.

use crate::with;

/// A spec that must be refused.
pub struct Case {
    /// What is wrong with it.
    pub what: &'static str,
    /// The spec.
    pub bytes: Vec<u8>,
    /// It is JSON.
    pub is_json: bool,
}

/// All of them.
pub fn all() -> Vec<Case> {
    let case = |is_json| move |(what, text): (&'static str, String)| Case { what, bytes: text.into_bytes(), is_json };
    let mut cases: Vec<Case> = whole().into_iter().map(case(false)).collect();
    cases.extend(more().into_iter().map(|(what, text)| case(false)((what, with(text)))));
    cases.extend(json().into_iter().map(|(what, text)| case(true)((what, text.to_owned()))));
    cases.extend(bytes().into_iter().map(|(what, bytes)| Case { what, bytes, is_json: false }));
    cases
}

/// Whole texts.
fn whole() -> Vec<(&'static str, String)> {
    let text = |text: &str| text.to_owned();
    let deep = |open: &str, close: &str| format!("name = \"shop\"\nx = {}1{}\n", open.repeat(50_000), close.repeat(50_000));
    vec![
        ("nothing at all", text("")),
        ("nothing but a comment", text("# later\n")),
        ("no command", text("name = \"shop\"\n")),
        ("no name", text("command = [\"./shop\"]\n")),
        ("a misspelt key that must be there", text("name = \"shop\"\ncomand = [\"./shop\"]\n")),
        ("two misspelt keys", text("nmae = \"shop\"\ncommand = [\"./shop\"]\nreplica = 4\n")),
        ("a command that is a text", text("name = \"shop\"\ncommand = \"./shop --port 80\"\n")),
        ("a command of numbers", text("name = \"shop\"\ncommand = [\"sleep\", 3]\n")),
        ("an empty command", text("name = \"shop\"\ncommand = []\n")),
        ("an empty program", text("name = \"shop\"\ncommand = [\"\"]\n")),
        ("a NUL in an argument", text("name = \"shop\"\ncommand = [\"./shop\", \"a\\u0000b\"]\n")),
        ("a placeholder that there is none of", text("name = \"shop\"\ncommand = [\"./shop\", \"{prot}\"]\n")),
        ("a shell variable in small letters", text("name = \"shop\"\ncommand = [\"sh\", \"-c\", \"echo ${greeting}\"]\n")),
        ("a name in capitals", text("name = \"Shop\"\ncommand = [\"./shop\"]\n")),
        ("a name that is a path", text("name = \"../shop\"\ncommand = [\"./shop\"]\n")),
        ("an empty name", text("name = \"\"\ncommand = [\"./shop\"]\n")),
        ("a name that is too long", format!("name = \"{}\"\ncommand = [\"./shop\"]\n", "x".repeat(64))),
        ("a name twice", text("name = \"shop\"\nname = \"shop\"\ncommand = [\"./shop\"]\n")),
        ("a table twice", text("name = \"shop\"\ncommand = [\"./shop\"]\n[limits]\npids = 1\n[limits]\npids = 2\n")),
        ("a text that does not end", text("name = \"shop\ncommand = [\"./shop\"]\n")),
        ("a list that does not end", text("name = \"shop\"\ncommand = [\"./shop\"\n")),
        ("a key without a value", text("name = \"shop\"\ncommand\n")),
        ("YAML", text("name: shop\ncommand: ./shop\n")),
        ("JSON where TOML should be", text("{ \"name\": \"shop\" }\n")),
        ("a control character", text("name = \"sh\u{1}op\"\ncommand = [\"./shop\"]\n")),
        ("an escape sequence of a terminal", text("name = \"shop\"\ncommand = [\"./shop\"]\n\"\\u001b[31mred\" = 1\n")),
        ("lists in lists without end", deep("[", "]")),
        ("tables in tables without end", deep("{ a = ", " }")),
        ("a key of parts without end", format!("name = \"shop\"\n{}a = 1\n", "a.".repeat(50_000))),
        ("a heading of parts without end", format!("name = \"shop\"\n[{}a]\n", "a.".repeat(50_000))),
        ("lists that are too deep for a spec", text("name = \"shop\"\ncommand = [[[[[[[[[[[[[[[[[[[[[\"x\"]]]]]]]]]]]]]]]]]]]]]\n")),
        ("a long line", format!("name = \"shop\"\ncommand = [\"./shop\", \"{}\", 5]\n", "\u{e4}".repeat(500))),
        ("a thousand strange keys", (0..1_000).map(|nth| format!("strange{nth} = {nth}\n")).collect()),
        ("a line with a tab and an umlaut before the fault", text("name = \"shop\"\ncommand = [\"./shop\"]\nenv = {\t\"\u{fc}\" = 5 }\n")),
    ]
}

/// What is added to a good spec.
fn more() -> Vec<(&'static str, &'static str)> {
    vec![
        ("a key that there is none of", "image = \"nginx:latest\""),
        ("a count below nothing", "replicas = -1"),
        ("a count with a point", "replicas = 4.0"),
        ("a count in quotes", "replicas = \"4\""),
        ("a count that is too large", "replicas = 1000001"),
        ("a number that no computer holds", "replicas = 99999999999999999999999"),
        ("a boolean in quotes", "default = \"true\""),
        ("a date", "default = 2026-01-01"),
        ("a misspelt word", "socket = \"pas\""),
        ("a word that is no text", "socket = true"),
        ("an app that is used twice", "uses = [\"db\", \"db\"]"),
        ("an app of a strange name", "uses = [\"my db\"]"),
        ("a variable that is a number", "env = { WORKERS = 4 }"),
        ("a variable of Ostler's", "env = { PORT = \"80\" }"),
        ("a variable that begins like Ostler's", "[env]\nOSTLER_NODE = \"x\""),
        ("a variable with an = in its name", "[env]\n\"A=B\" = \"x\""),
        ("a variable without a name", "[env]\n\"\" = \"x\""),
        ("variables that are a list", "env = [\"A=B\"]"),
        ("an artifact without a URL", "[artifact]\nsha256 = \"aa\""),
        ("an artifact without a digest", "[artifact]\nurl = \"https://example.com/shop.tar.gz\""),
        ("an artifact by a scheme that there is none of", "[artifact]\nurl = \"ftp://example.com/shop.tar.gz\""),
        ("an artifact that is a directory", "[artifact]\nurl = \"file:///srv/\""),
        ("an artifact with a password", "[artifact]\nurl = \"https://me:secret@example.com/x\""),
        ("a digest that is too short", "[artifact]\nurl = \"https://example.com/x\"\nsha256 = \"abc\""),
        ("a digest with a strange letter", "[artifact]\nurl = \"https://example.com/x\"\nsha256 = \"sha256:abc\""),
        ("a route that is one table", "[route]\nhost = \"a.example\""),
        ("a host with a port", "[[route]]\nhost = \"a.example:80\""),
        ("a host with a scheme", "[[route]]\nhost = \"https://a.example\""),
        ("a star in the middle", "[[route]]\nhost = \"a.*.example\""),
        ("a path without a slash", "[[route]]\npath = \"api\""),
        ("a path with a slash at its end", "[[route]]\npath = \"/api/\""),
        ("a path that climbs", "[[route]]\npath = \"/api/%2e%2e/admin\""),
        ("a path with a query", "[[route]]\npath = \"/api?x=1\""),
        ("a path with a star", "[[route]]\npath = \"/api/*\""),
        ("a route twice", "[[route]]\nhost = \"a.example\"\n[[route]]\nhost = \"A.example\"\npath = \"/\""),
        ("a misspelt key of a route", "[[route]]\npaht = \"/\""),
        ("a check without a kind", "[[health]]\npath = \"/\""),
        ("a check of a kind that there is none of", "[[health]]\nkind = \"grpc\""),
        ("a key of another kind of check", "[[health]]\nkind = \"tcp\"\npath = \"/healthz\""),
        ("a check without its command", "[[health]]\nkind = \"exec\""),
        ("a path of a check with a space", "[[health]]\nkind = \"http\"\npath = \"/a b\""),
        ("a status that is none", "[[health]]\nkind = \"http\"\nstatus = \"ok\""),
        ("a status that is too small", "[[health]]\nkind = \"http\"\nstatus = 20"),
        ("a status that is true", "[[health]]\nkind = \"http\"\nstatus = true"),
        ("a duration without a unit", "[[health]]\nkind = \"tcp\"\ninterval = 2"),
        ("a duration in words", "[[health]]\nkind = \"tcp\"\ninterval = \"2 seconds\""),
        ("an interval that is too short", "[[health]]\nkind = \"tcp\"\ninterval = \"1ms\""),
        ("a threshold of nothing", "[[health]]\nkind = \"tcp\"\nhealthy = 0"),
        ("two voices", "[[health]]\nkind = \"push\"\n[[health]]\nkind = \"push\""),
        (
            "nine checks",
            "health = [{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"},{kind=\"tcp\"}]",
        ),
        ("a policy with an underscore", "restart.when = \"on_failure\""),
        ("a policy that there is none of", "restart.when = \"sometimes\""),
        ("a first wait that is longer than the longest", "restart = { first = \"1m\", max = \"1s\" }"),
        ("a wait of two days", "[restart]\nmax = \"2d\""),
        ("a size without a unit", "[limits]\nmemory = 268435456"),
        ("a size of another system", "[limits]\nmemory = \"256M\""),
        ("memory that no program starts in", "[limits]\nmemory = \"4KiB\""),
        ("no processor", "[limits]\ncpu = 0"),
        ("processors in quotes", "[limits]\ncpu = \"0.5\""),
        ("processors that are no number", "[limits]\ncpu = nan"),
        ("nice to nobody", "[limits]\nnice = 99"),
        ("no process", "[limits]\npids = 0"),
        ("three open files", "[limits]\nopen_files = 3"),
        ("limits that are a number", "limits = 5"),
        ("a constraint with spaces", "[placement]\nconstraints = [\"zone = a\"]"),
        ("a constraint of another language", "[placement]\nconstraints = [\"zone=a\", \"memory>4\"]"),
        ("constraints that are one text", "[placement]\nconstraints = \"zone=a\""),
        ("a spread over nothing", "[placement]\nspread = \"\""),
        ("none per node", "[placement]\nmax_per_node = 0"),
        ("a drain without an end", "[stop]\ndrain = \"9999d\""),
        ("a balancing that there is none of", "[gateway]\nbalance = \"random\""),
        ("a cookie without a name", "[gateway]\nbalance = \"cookie:\""),
        ("more than all", "[gateway]\nmax_ejected = 101"),
        ("a connection in no time", "[gateway]\nconnect = \"0s\""),
        ("retries without an end", "[gateway]\nretries = 1000"),
        ("a protocol that there is none of", "[gateway]\nprotocol = \"http2\""),
        ("a file that holds nothing", "[logs]\nmax_size = \"1B\""),
        ("no file", "[logs]\nfiles = 0"),
        ("a user of two", "[run_as]\nuser = \"root:root\""),
        ("a working directory that depends", "[run_as]\nworking_dir = \"srv\""),
        ("a umask that is a number", "[run_as]\numask = 0o027"),
        ("a umask that is not octal", "[run_as]\numask = \"089\""),
        ("a sandbox that depends", "[sandbox]\nread = [\"/srv\", \"data\"]"),
    ]
}

/// The same over the API.
fn json() -> Vec<(&'static str, &'static str)> {
    vec![
        ("nothing at all, in JSON", ""),
        ("a list instead of an object", "[]"),
        ("a comma too many", "{\n  \"name\": \"shop\",\n  \"command\": [\"./shop\"],\n}"),
        ("JSON that breaks off", "{\"name\": \"shop\", \"command\": [\"./sh"),
        ("something behind the end", "{\"name\":\"shop\",\"command\":[\"./shop\"]} x"),
        ("a key twice, in JSON", "{\"name\":\"shop\",\"name\":\"shop\",\"command\":[\"./shop\"]}"),
        ("null", "{\"name\":\"shop\",\"command\":[\"./shop\"],\"artifact\":null}"),
        ("a misspelt key, in JSON", "{\"name\":\"shop\",\"command\":[\"./shop\"],\n\"limits\":{\"memroy\":\"64MiB\"}}"),
        ("a value out of range, in JSON", "{\"name\":\"shop\",\"command\":[\"./shop\"],\n\"limits\":{\"nice\": 99}}"),
        ("half a surrogate", "{\"name\":\"sh\\ud800op\",\"command\":[\"./shop\"]}"),
        ("a number beyond all, in JSON", "{\"name\":\"shop\",\"command\":[\"./shop\"],\"replicas\":1e999}"),
        ("TOML where JSON should be", "name = \"shop\""),
    ]
}

/// What is no text, or too much of it.
fn bytes() -> Vec<(&'static str, Vec<u8>)> {
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("name = \"shop\"".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let large = with(&"# a comment that goes on and on\n".repeat(8_192)).into_bytes();
    vec![
        ("UTF-16", utf16),
        ("Latin-1", b"name = \"shop\"\n# caf\xe9\ncommand = [\"./shop\"]\n".to_vec()),
        ("a program", b"\x7fELF\x02\x01\x01\0\0\0".to_vec()),
        ("too much", large),
    ]
}
