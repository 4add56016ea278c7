//! The curl lines of the original description, as they stand there.

use std::net::{Ipv4Addr, SocketAddr};

use super::home::Home;
use super::http::Call;
use super::program::{self, Ended};

/// Who carries a curl line out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curl {
    /// The program curl, by way of a shell.
    Real,
    /// Our own client, which sends what curl would: the form type is what matters.
    Imitated,
}

impl Curl {
    /// Carries out a line; gives what curl would print.
    #[track_caller]
    pub fn run(self, home: &Home, line: &str) -> String {
        match self {
            Curl::Real => {
                let Ended { code, stdout, stderr } = program::run(home, home.command("sh").args(["-c", line]));
                assert_eq!(code, Some(0), "{line}: {stderr}");
                stdout
            }
            Curl::Imitated => imitate(line),
        }
    }
}

/// `curl [-X METHOD] http://localhost:PORT/PATH [-d "BODY"]`.
#[track_caller]
fn imitate(line: &str) -> String {
    let (words, body) = match line.split_once(" -d ") {
        Some((words, quoted)) => {
            let body = quoted.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("a body in double quotes");
            (words, Some(body.replace("\\\"", "\"")))
        }
        None => (line, None),
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    let (method, url) = match words[..] {
        ["curl", "-X", method, url] => (method, url),
        ["curl", url] => ("GET", url),
        _ => panic!("no curl line that is known here: {line}"),
    };
    let (authority, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an http URL with a path");
    let port = authority.strip_prefix("localhost:").and_then(|port| port.parse().ok()).expect("localhost and a port");
    let mut call = Call::new(method, &format!("/{path}")).header("User-Agent", "curl/7.88.1").header("Accept", "*/*");
    if let Some(body) = body {
        call = call.header("Content-Type", "application/x-www-form-urlencoded").body(body);
    }
    call.send(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).text()
}
