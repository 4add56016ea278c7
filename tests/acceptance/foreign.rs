//! Clients and workers that nobody here wrote: gRPC, WebSocket, h2load, curl.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::home::Home;
use crate::harness::program::{self, Ended};
use crate::harness::{PATIENCE, Setup, needs, python};

/// How long a client may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A home whose worker is this script; `None` where Python lacks the module, which was said.
#[track_caller]
fn home(test: &str, module: &str, package: &str, script: &str) -> Option<(Home, PathBuf)> {
    let python = python::with(module);
    if !needs::is_there(test, package, python.is_some()) {
        return None;
    }
    let python = python?;
    let home = Home::new();
    home.script("worker", &format!("#!{}\n{script}", python.display()));
    Some((home, python))
}

/// Runs a client's script against an address; it must say that all is well.
#[track_caller]
fn run(home: &Home, python: &Path, script: &str, address: &str) {
    home.file("client.py", script, 0o600);
    let mut command = home.command(&python.to_string_lossy());
    let Ended { code, stdout, stderr } = program::run_within(home, LIMIT, command.arg(home.cwd().join("client.py")).arg(address));
    assert_eq!((code, stdout.trim()), (Some(0), "all well"), "{stderr}");
}

#[test]
fn grpc_calls_of_every_kind_reach_workers_that_speak_it() {
    let worker = include_str!("foreign/grpc_worker.py");
    let Some((home, python)) = home("gRPC", "grpc", "python3 with grpcio", worker) else { return };
    let cluster = Setup::new().agents(1).controller_args(&["--protocol", "h2c"]).start_in(home);
    cluster.settle(2);
    run(&cluster.home, &python, include_str!("foreign/grpc_client.py"), &cluster.address().to_string());
    // Stopping a worker is noticed by nobody: an orderly goodbye of HTTP/2.
    cluster.scale(1);
    run(&cluster.home, &python, include_str!("foreign/grpc_client.py"), &cluster.address().to_string());
    cluster.wait_settled(1);
}

#[test]
fn websockets_pass_in_both_directions() {
    let worker = include_str!("foreign/websocket_worker.py");
    let Some((home, python)) = home("WebSocket", "websockets", "python3 with websockets", worker) else { return };
    let cluster = Setup::new().agents(1).start_in(home);
    cluster.settle(2);
    run(&cluster.home, &python, include_str!("foreign/websocket_client.py"), &cluster.address().to_string());
}

#[test]
fn h2load_loses_nothing_while_an_app_is_scaled() {
    if !needs::is_there("HTTP/2 under load", "h2load (nghttp2-client)", needs::program("h2load").is_some()) {
        return;
    }
    let cluster = Setup::new().start();
    cluster.settle(3);
    let (home, address) = (&cluster.home, cluster.address());
    let mut command = home.command("h2load");
    command.args(["-n", "6000", "-c", "6", "-m", "10", &format!("http://{address}/?delay_ms=5")]);
    let ended = std::thread::scope(|scope| {
        let load = scope.spawn(move || program::run_within(home, LIMIT, &mut command));
        for count in [1, 4, 2] {
            cluster.settle(count);
        }
        load.join().unwrap()
    });
    let summary = "6000 total, 6000 started, 6000 done, 6000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(ended.stdout.contains(summary) && ended.stdout.contains("status codes: 6000 2xx"), "{ended:?}");
}

#[test]
fn curl_speaks_http2_to_apps_and_to_the_api() {
    let speaks =
        |curl: PathBuf| program::run(&Home::new(), Home::new().command(&curl.to_string_lossy()).arg("--version")).stdout.contains("HTTP2");
    if !needs::is_there("HTTP/2 of curl", "curl with HTTP/2", needs::program("curl").is_some_and(speaks)) {
        return;
    }
    let cluster = Setup::new().agents(1).start();
    cluster.settle(2);
    let curl = |args: &[&str]| {
        let mut command = cluster.home.command("curl");
        command.args([
            "-sS",
            "--http2-prior-knowledge",
            "-w",
            " %{http_version} %{http_code}",
            "--max-time",
            &PATIENCE.as_secs().to_string(),
        ]);
        program::run(&cluster.home, command.args(args)).stdout
    };
    let url = |path: &str| format!("http://{}{path}", cluster.address());
    let hello = curl(&[&url("/")]);
    assert!(hello.starts_with("Hello from Worker ID: ") && hello.ends_with(" 2 200"), "{hello}");
    assert_eq!(curl(&["--data-binary", "body", &url("/echo")]), "body 2 200");
    assert!(curl(&[&url("/status")]).contains("\"desired\":2"));
    let missing = curl(&["-X", "POST", "-d", "{\"app\":\"none\",\"count\":1}", &url("/scale")]);
    assert!(missing.contains("\"status\":404") && missing.ends_with(" 2 404"), "{missing}");
}
