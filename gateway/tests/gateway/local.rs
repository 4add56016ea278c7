//! The door to the API on port 8000.

use std::collections::BTreeSet;

use gateway::{Face, Limits, LocalDoor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// An API server by script on a thread of its own: answers by the request line that it saw, and what of the body there was.
fn api(mut connections: tokio::sync::mpsc::Receiver<gateway::LocalConnection>) -> std::thread::JoinHandle<BTreeSet<String>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut hosts = BTreeSet::new();
            while let Some(connection) = connections.recv().await {
                assert!(connection.peer.ip().is_loopback());
                let mut stream = BufReader::new(connection.stream);
                let mut first = String::new();
                stream.read_line(&mut first).await.unwrap();
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if line == "\r\n" {
                        break;
                    }
                    let (name, value) = line.trim().split_once(": ").unwrap();
                    match name {
                        "content-length" => length = value.parse().unwrap(),
                        "host" => drop(hosts.insert(value.to_owned())),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let body = format!("{} {}", first.trim(), String::from_utf8(body).unwrap());
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            hosts
        })
    })
}

#[test]
fn the_controllers_paths_go_to_the_api_and_all_others_to_the_app() {
    let (local, connections) = LocalDoor::new(4);
    let api = api(connections);
    let replica = Upstream::named("app");
    let rig = Rig::with(2, Limits::default(), Face::Combined { local });
    // The API is there before any table is.
    let mut client = rig.client();
    assert_eq!(client.get("/status").body, "GET /status HTTP/1.1 ");
    rig.publish(vec![direct(1, &replica)]);
    // One connection is shared by both.
    assert_eq!(client.get("/").body, "app");
    assert_eq!(client.post("/scale", "{\"count\": 4}").body, "POST /scale HTTP/1.1 {\"count\": 4}");
    assert_eq!(client.get("/v1/routes?a=b").body, "GET /v1/routes?a=b HTTP/1.1 ");
    assert_eq!(client.get("/status/").body, "app");
    assert_eq!(client.request("DELETE /ui/x", "", "").body, "DELETE /ui/x HTTP/1.1 ");
    assert_eq!(client.request("GET http://h.test/healthz", "", "").body, "GET /healthz HTTP/1.1 ");
    assert_eq!(replica.requests(), 2);
    drop(client);
    drop(rig);
    assert_eq!(api.join().unwrap(), BTreeSet::from(["a.test".to_owned(), "h.test".to_owned()]));
}

#[test]
fn on_the_gateways_own_port_every_path_is_the_apps() {
    let replica = Upstream::named("app");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for path in ["/status", "/healthz", "/v1/routes", "/scale"] {
        assert_eq!(rig.get(path).body, "app");
    }
}

#[test]
fn an_api_that_takes_nothing_does_not_hang_its_callers() {
    let limits = Limits { connect_ms: 100, first_byte_ms: 200, ..Limits::default() };
    let (local, mut connections) = LocalDoor::new(1);
    let rig = Rig::with(1, limits, Face::Combined { local });
    // The first waits in the queue for ever, the second finds the queue full.
    assert!(rig.get("/status").problem(504).contains("no answer within 200 ms"));
    let answer = rig.get("/status");
    assert_eq!(answer.field("retry-after"), Some("1"));
    answer.problem(503);
    while connections.try_recv().is_ok() {}
    drop(connections);
    rig.get("/status").problem(503);
}

#[test]
fn an_answer_of_the_api_may_be_quiet_for_long() {
    let limits = Limits { body_idle_ms: 100, ..Limits::default() };
    let (local, mut connections) = LocalDoor::new(1);
    let rig = Rig::with(1, limits, Face::Combined { local });
    let api = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut stream = BufReader::new(connections.recv().await.unwrap().stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
            // The quiet is the point: a followed log has nothing to say for several times the limit of a body.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            stream.write_all(b"late").await.unwrap();
        });
    });
    assert_eq!(rig.get("/v1/replicas/x/logs?follow=true").body, "late");
    api.join().unwrap();
}
