//! A line for each request.

use std::path::PathBuf;
use std::time::Duration;

use gateway::access_log::{self, Format, Writer};
use gateway::{Config, Face};
use serde_json::Value;

use crate::client::until;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ostler-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn rig(&self, format: Format) -> Rig {
        let access_log = Some(Writer::start(&access_log::Config { path: Some(self.0.join("log")), format }).unwrap());
        Rig::with_config(Config { threads: 2, access_log, ..Config::default() }, Face::Apps)
    }

    fn lines(&self, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let text = std::fs::read_to_string(self.0.join("log")).unwrap_or_default();
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| line.trim_end().to_owned()).collect()
        };
        until("lines of the log", || lines().len() >= count);
        lines()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_line_says_what_was_asked_who_answered_and_how_long_it_took() {
    let directory = Directory::new("log-json");
    let rig = directory.rig(Format::Json);
    let replica = Upstream::named("hello");
    rig.publish(vec![direct(1, &replica)]);
    rig.client().request("POST /a?b=c", "Content-Length: 2\r\nUser-Agent: test \"1\"\r\nReferer: http://x/\r\n", "hi");
    let line: Value = serde_json::from_str(&directory.lines(1)[0]).unwrap();
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("host", "a.test"),
        ("target", "/a?b=c"),
        ("protocol", "HTTP/1.1"),
        ("app", "worker"),
        ("replica", "00000000-0000-0000-0000-000000000001"),
        ("user_agent", "test \"1\""),
        ("referer", "http://x/"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes"], &line["retries"]), (&200.into(), &5.into(), &0.into()), "{line}");
    assert!(line["first_byte_ms"].as_f64().unwrap() <= line["total_ms"].as_f64().unwrap(), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["reason"].is_null(), "{line}");
    assert_eq!(line["request_id"].as_str().unwrap().len(), 32, "{line}");
}

#[test]
fn a_line_says_why_there_was_no_answer_or_not_all_of_it() {
    let directory = Directory::new("log-reason");
    let rig = directory.rig(Format::Json);
    let replica = Upstream::start(|mut conn| {
        let head = conn.head().unwrap_or_default();
        if head.contains("/cut") {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        conn.end();
    });
    rig.publish(vec![direct(1, &replica)]);
    let detail = rig.client().post("/none", "").problem(502);
    let mut client = rig.client();
    client.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.answer(false).is_err());
    rig.refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    let lines: Vec<Value> = directory.lines(3).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |status: u64| lines.iter().find(|line| line["status"] == status).unwrap();
    assert_eq!(find(502)["reason"], detail.as_str());
    assert!(find(200)["reason"].as_str().unwrap().contains("ended the connection within its answer"), "{lines:?}");
    assert_eq!((&find(400)["method"], &find(400)["app"]), (&"GET".into(), &Value::Null));
}

#[test]
fn all_lines_are_there_when_the_gateway_has_ended_in_the_format_of_apache() {
    let directory = Directory::new("log-combined");
    let rig = directory.rig(Format::Combined);
    let replica = Upstream::named("hello");
    rig.publish(vec![direct(1, &replica)]);
    for _ in 0..20 {
        rig.get("/x?y");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(rig.gateway.shutdown(Duration::from_secs(5)));
    let lines = directory.lines(20);
    assert_eq!(lines.len(), 20);
    assert!(lines[0].starts_with("127.0.0.1 - - [") && lines[0].ends_with("+0000] \"GET /x?y HTTP/1.1\" 200 5 \"-\" \"-\""), "{lines:?}");
}

#[test]
fn what_cannot_be_written_is_an_error_that_names_it() {
    let directory = Directory::new("log-bad");
    for path in [PathBuf::from("/nowhere/log"), directory.0.clone()] {
        let error = Writer::start(&access_log::Config { path: Some(path.clone()), format: Format::Json }).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot write the access log to {}: ", path.display())), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let log = access_log::Config { path: Some("/dev/full".into()), format: Format::Json };
    let rig = Rig::with_config(Config { threads: 1, access_log: Some(Writer::start(&log).unwrap()), ..Config::default() }, Face::Apps);
    let replica = Upstream::named("hello");
    rig.publish(vec![direct(1, &replica)]);
    for _ in 0..3 {
        assert_eq!(rig.get("/").body, "hello");
    }
    until("they are counted", || rig.gateway.observer().figures().log_dropped == 3);
}
