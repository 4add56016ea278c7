//! What comes from outside and is wrong: a 4xx problem document that says what to do, within 3 s, and nothing changes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use super::rig::controller::{TestController, read_answer};

const ADD: &str = "/add-node";
const REMOVE: &str = "/remove-node";
const SCALE: &str = "/scale";

/// What the store has, to see that nothing changed.
fn revision(controller: &TestController) -> u64 {
    controller.store.watch().borrow().revision
}

async fn refuses(controller: &TestController, method: Method, path: &str, body: impl Into<Bytes>, status: u16) -> String {
    let body = body.into();
    let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
    let (before, began) = (revision(controller), Instant::now());
    let answer = controller.call(method.clone(), path, body).await;
    assert_eq!(answer.status.as_u16(), status, "{method} {path} {shown}: {:?}", answer.body);
    assert!(began.elapsed() < Duration::from_secs(3), "{method} {path} {shown} took {:?}", began.elapsed());
    assert_eq!(revision(controller), before, "{method} {path} {shown} changed the store");
    answer.problem()
}

#[tokio::test]
async fn a_count_is_an_integer_literal_from_0_to_a_million() {
    let controller = TestController::start().await;
    for count in [
        "-1",
        "-0",
        "4.0",
        "4.5",
        "1e3",
        "1E0",
        "1000001",
        "4294967296",
        "18446744073709551616",
        "1e400",
        "\"4\"",
        "null",
        "true",
        "[]",
        "[4]",
        "{}",
        "+4",
        "04",
        "0x4",
        ".5",
        "4.",
        "NaN",
        "Infinity",
        "",
        "4 4",
        "--4",
    ] {
        let detail = refuses(&controller, Method::POST, SCALE, format!("{{\"count\":{count}}}"), 400).await;
        assert!(detail.contains("{\"count\":4}"), "{count}: {detail}");
        refuses(&controller, Method::POST, "/v1/apps/worker/scale", format!("{{\"count\":{count}}}"), 400).await;
    }
    for (count, expected) in [("1000000", 1_000_000), (" 0 ", 0)] {
        assert_eq!(controller.post(SCALE, format!("{{\"count\":{count}}}")).await["desired"], expected);
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_body_is_one_json_object_with_known_fields() {
    let controller = TestController::start().await;
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"   ".to_vec(),
        b"x".to_vec(),
        b"count=4".to_vec(),
        b"4".to_vec(),
        b"null".to_vec(),
        b"[4]".to_vec(),
        b"[\"http://localhost:9091\",true]".to_vec(),
        b"\"count\"".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"{\"count\":4".to_vec(),
        b"{\"count\":4}}".to_vec(),
        b"{\"count\":4}{\"count\":5}".to_vec(),
        b"{'count':4}".to_vec(),
        b"{count:4}".to_vec(),
        b"{\"count\":4,}".to_vec(),
        b"{\"count\":4,\"count\":5}".to_vec(),
        b"{\"count\":4,\"kount\":5}".to_vec(),
        b"{\"Count\":4}".to_vec(),
        b"{\"count\":4,\"app\":7}".to_vec(),
        b"{\"count\":4,\"app\":[\"worker\"]}".to_vec(),
        b"{\"count\":4} // four".to_vec(),
        b"\xef\xbb\xbf{\"count\":4}".to_vec(),
        b"\xff\xfe{\0\"\0".to_vec(),
        b"{\"count\":4,\"app\":\"\xc3\x28\"}".to_vec(),
        b"{\"count\":4,\"app\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"count\":4,\"app\":\"\\ud800\"}".to_vec(),
        b"{\"count\":4,\"app\":\"a\nb\"}".to_vec(),
        b"{\"count\"\0:4}".to_vec(),
        [b"{\"count\":".as_slice(), &[b'['; 100_000]].concat(),
        [b"{\"count\":4,\"x\":".as_slice(), &[b'['; 500], &[b']'; 500], b"}"].concat(),
        "{\"a\":".repeat(50_000).into_bytes(),
        [b"{\"count\":4,\"".as_slice(), &[b'x'; 900_000], b"\":1}"].concat(),
        [b"{\"count\":".as_slice(), &[b'9'; 900_000], b"}"].concat(),
    ];
    for body in bodies {
        for path in [SCALE, ADD, REMOVE] {
            refuses(&controller, Method::POST, path, body.clone(), 400).await;
        }
    }
    controller.stop().await;
}

#[tokio::test]
async fn the_url_of_a_node_is_scheme_host_and_port() {
    let controller = TestController::start().await;
    for url in [
        "",
        "localhost:9091",
        "http://localhost",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:9091/x",
        "http://localhost:9091?x",
        "http://user:pw@localhost:9091",
        "https://localhost:9091",
        "ftp://localhost:9091",
        "file:///etc/passwd",
        "http://0x7f.1:9091",
        "http://[::1:9091",
        "http://a b:9091",
    ] {
        for path in [ADD, REMOVE] {
            refuses(&controller, Method::POST, path, serde_json::json!({ "url": url }).to_string(), 400).await;
        }
    }
    for url in ["null", "7", "[]", "{}", "[\"http://localhost:9091\"]"] {
        refuses(&controller, Method::POST, ADD, format!("{{\"url\":{url}}}"), 400).await;
    }
    refuses(&controller, Method::POST, ADD, "{\"url\":\"http://localhost:9091\",\"take_over\":1}", 400).await;
    for url in
        ["http://localhost:8000", "http://127.0.0.1:8000/", "http://[::1]:8000", "http://0.0.0.0:8000", "http://[::ffff:127.0.0.1]:8000"]
    {
        let detail = refuses(&controller, Method::POST, ADD, serde_json::json!({ "url": url }).to_string(), 400).await;
        assert!(detail.contains("this controller itself"), "{detail}");
    }
    controller.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let controller = TestController::start().await;
    for (method, path, body) in [
        (Method::POST, SCALE, "{\"count\":4,\"app\":\"nope\"}"),
        (Method::POST, SCALE, "{\"count\":4,\"app\":\"../../etc\"}"),
        (Method::POST, SCALE, "{\"count\":4,\"app\":\"\"}"),
        (Method::POST, "/v1/apps/nope/scale", "{\"count\":4}"),
        (Method::POST, REMOVE, "{\"url\":\"http://localhost:9091\"}"),
        (Method::GET, "/v1/apps/nope", ""),
        (Method::GET, "/v1/apps/..%2f..%2fetc", ""),
        (Method::GET, "/v1/replicas/0199b1c2-7d3e-7abc-8def-0123456789ab/logs", ""),
        (Method::GET, "/v1", ""),
        (Method::GET, "/v1/", ""),
        (Method::GET, "/v1/nope", ""),
        (Method::GET, "/v1/status/", ""),
        (Method::DELETE, "/v1/nope", ""),
        (Method::GET, "/ui", ""),
        (Method::GET, "/ui/", ""),
        (Method::GET, "/ui/app.js", ""),
    ] {
        refuses(&controller, method, path, body, 404).await;
    }
    for (path, allowed) in [(ADD, "POST"), (REMOVE, "POST"), (SCALE, "POST"), ("/status", "GET,HEAD"), ("/v1/apps/worker/scale", "POST")] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            if !allowed.contains(method.as_str()) {
                let detail = refuses(&controller, method.clone(), path, "{\"count\":4}", 405).await;
                assert!(detail.contains("use "), "{detail}");
                let answer = controller.call(method, path, "").await;
                assert_eq!(answer.headers["allow"], allowed, "{path}");
            }
        }
    }
    for path in [
        "/v1/replicas/x/logs",
        "/v1/replicas/..%2f..%2fetc/logs",
        "/v1/replicas/%ff/logs",
        "/v1/replicas/0199b1c2-7d3e-7abc-8def-0123456789ab/logs?tail=x",
        "/v1/replicas/0199b1c2-7d3e-7abc-8def-0123456789ab/logs?x=1",
    ] {
        refuses(&controller, Method::GET, path, "", 400).await;
    }
    controller.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_and_foreign_names_are_403() {
    let controller = TestController::start().await;
    let host = ("host", "localhost:8000");
    let calls: Vec<Vec<(&str, &str)>> = vec![
        vec![("host", "evil.example")],
        vec![("host", "evil.example:8000")],
        vec![("host", "")],
        vec![("host", "localhost:8000"), ("host", "localhost:8000")],
        vec![],
        vec![host, ("origin", "http://evil.example")],
        vec![host, ("origin", "null")],
        vec![host, ("origin", "http://localhost:3000")],
        vec![host, ("origin", "http://localhost:8000"), ("origin", "http://evil.example")],
        vec![host, ("sec-fetch-site", "cross-site")],
    ];
    for fields in calls {
        for (method, path, body) in [(Method::POST, SCALE, "{\"count\":4}"), (Method::GET, "/status", ""), (Method::GET, "/nope", "")] {
            let before = revision(&controller);
            let answer = controller.call_as(method, path, &fields, body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {fields:?}");
            answer.problem();
            assert_eq!(revision(&controller), before);
        }
    }
    for fields in [vec![("host", "[::1]:8000")], vec![("host", "ops.example")], vec![host, ("origin", "http://localhost:8000")]] {
        assert_eq!(controller.call_as(Method::GET, "/status", &fields, "").await.status, StatusCode::OK, "{fields:?}");
    }
    controller.stop().await;
}

fn head(length: &str) -> Vec<u8> {
    format!("POST /scale HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_even_to_a_client_that_sends_it_all() {
    let controller = TestController::start().await;
    let mut whole = b"{\"count\":4,\"app\":\"".to_vec();
    whole.resize(8 * 1024 * 1024, b'x');
    refuses(&controller, Method::POST, SCALE, whole.clone(), 413).await;

    let mut chunked = head("Transfer-Encoding: chunked");
    for part in whole.chunks(1024 * 1024) {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(controller.raw(&chunked).await.status, StatusCode::PAYLOAD_TOO_LARGE);

    let began = Instant::now();
    let answer = controller.raw(&head("Expect: 100-continue\r\nContent-Length: 99999999999")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    answer.problem();
    assert!(began.elapsed() < Duration::from_secs(1));

    let mut exactly = b"{\"count\":4}".to_vec();
    exactly.resize(1024 * 1024, b' ');
    assert_eq!(controller.post(SCALE, exactly).await["desired"], 4);
    controller.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_one_without_end_413() {
    let controller = TestController::start().await;
    let before = revision(&controller);
    let began = Instant::now();

    let mut stalled = controller.connect().await;
    stalled.write_all(&[head("Content-Length: 20"), b"{\"count\"".to_vec()].concat()).await.unwrap();
    let endless = async {
        let mut stream = controller.connect().await;
        stream.write_all(&head("Content-Length: 99999999999")).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let chunk = vec![b'x'; 64 * 1024];
        let sending = async {
            while writer.write_all(&chunk).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 12];
        tokio::select! {
            read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut answer) => { read.unwrap(); }
            () = sending => {}
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (stalled, endless) = tokio::join!(read_answer(&mut stalled), endless);
    assert_eq!(stalled.status, StatusCode::REQUEST_TIMEOUT);
    stalled.problem();
    assert_eq!(endless, "HTTP/1.1 413");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(revision(&controller), before);
    controller.stop().await;
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let controller = TestController::start().await;
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", "nonsense"] {
        let fields = [("host", "localhost:8000"), ("content-type", kind)];
        assert_eq!(controller.call_as(Method::POST, SCALE, &fields, "{\"count\": 4}").await.status, StatusCode::OK, "{kind}");
    }
    controller.stop().await;
}
