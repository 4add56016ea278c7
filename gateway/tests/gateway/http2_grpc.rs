//! Calls of gRPC as they look in HTTP/2: messages in DATA, the outcome in trailers, or in a head alone.

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};

use crate::http2_client::{Http2, request, run, send, whole};
use crate::http2_worker::{Worker, fields, publish};
use crate::rig::Rig;

/// One message, with its length before it.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

async fn next(stream: &mut RecvStream) -> Option<Bytes> {
    let data = stream.data().await?.unwrap();
    stream.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

fn call(method: &str) -> Request<()> {
    let mut call = request("POST", &format!("/a.Service/{method}"));
    call.headers_mut().extend(fields(&[("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "10S")]));
    call
}

/// Says every message back as it comes; `/a.Service/Stream` says three for one, `/a.Service/Collect` one for all; the others are unknown.
fn service() -> Worker {
    Worker::answering(|request, mut respond| async move {
        assert_eq!(request.headers()["te"], "trailers");
        assert!(!request.headers().contains_key("content-length"));
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let mut head = Response::new(());
        head.headers_mut().extend(fields(&[("content-type", "application/grpc")]));
        let mut messages = request.into_body();
        let mut stream = match method.as_str() {
            "Echo" => {
                let mut stream = respond.send_response(head, false).unwrap();
                while let Some(data) = next(&mut messages).await {
                    send(&mut stream, data, false).await.unwrap();
                }
                stream
            }
            "Stream" => {
                let data = next(&mut messages).await.unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                for _ in 0..3 {
                    send(&mut stream, data.clone(), false).await.unwrap();
                }
                stream
            }
            "Collect" => {
                let mut all = Vec::new();
                while let Some(data) = next(&mut messages).await {
                    all.extend_from_slice(&data);
                }
                let mut stream = respond.send_response(head, false).unwrap();
                send(&mut stream, all.into(), false).await.unwrap();
                stream
            }
            "Break" => {
                let mut stream = respond.send_response(head, false).unwrap();
                send(&mut stream, message("first"), false).await.unwrap();
                next(&mut messages).await;
                stream.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
            _ => {
                head.headers_mut().extend(fields(&[("grpc-status", "12"), ("grpc-message", "no such method")]));
                respond.send_response(head, true).unwrap();
                return;
            }
        };
        stream.send_trailers(fields(&[("grpc-status", "0"), ("grpc-message", "")])).unwrap();
    })
}

fn rig(worker: &Worker) -> Rig {
    let rig = Rig::new(1);
    publish(&rig, vec![worker.route(1)]);
    rig
}

#[test]
fn a_call_and_a_stream_of_answers_end_with_their_status() {
    let worker = service();
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        for (method, times) in [("Echo", 1), ("Stream", 3), ("Collect", 1)] {
            let answer = client.tell(call(method), &message("hello")).await.unwrap();
            assert_eq!(answer.field("content-type"), Some("application/grpc"));
            assert_eq!(answer.body, message("hello").repeat(times), "{method}");
            assert_eq!(answer.trailers["grpc-status"], "0", "{method}");
            assert_eq!(answer.field("grpc-status"), None);
        }
    });
}

#[test]
fn a_failure_is_told_by_a_head_alone() {
    let worker = service();
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(call("Unknown"), false).await;
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_end_stream(), "a head with END_STREAM is what makes its fields trailers");
        // The rest of the call goes nowhere.
        let _ = send(&mut stream, message("late"), true).await;
    });
}

#[test]
fn messages_go_both_ways_as_they_come() {
    let worker = service();
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(call("Echo"), false).await;
        let mut answer = response.await.unwrap().into_body();
        for number in 0..20 {
            let sent = message(&format!("message {number}"));
            send(&mut stream, sent.clone(), false).await.unwrap();
            assert_eq!(next(&mut answer).await.unwrap(), sent);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(next(&mut answer).await, None);
        assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn many_messages_of_a_client_are_collected() {
    let worker = service();
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(call("Collect"), false).await;
        let one = message(&"x".repeat(10_000));
        for _ in 0..100 {
            send(&mut stream, one.clone(), false).await.unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let answer = whole(response.await.unwrap()).await.unwrap();
        assert_eq!(answer.body, one.repeat(100));
        assert_eq!(answer.trailers["grpc-status"], "0");
    });
}

#[test]
fn a_stream_that_breaks_at_the_worker_breaks_at_the_client() {
    let worker = service();
    let rig = rig(&worker);
    run(async {
        let client = Http2::connect(rig.addr).await;
        let (response, mut stream) = client.begin(call("Break"), false).await;
        let mut answer = response.await.unwrap().into_body();
        assert_eq!(next(&mut answer).await.unwrap(), message("first"));
        send(&mut stream, message("now"), false).await.unwrap();
        let error = answer.data().await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.is_remote());
    });
}

#[test]
fn a_client_of_http11_sees_the_status_in_its_trailers() {
    let worker = service();
    let rig = rig(&worker);
    let mut client = rig.client();
    let sent = message("hello");
    client.send("POST /a.Service/Echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send([format!("{:x}\r\n", sent.len()).as_bytes(), &sent, b"\r\n0\r\n\r\n"].concat());
    let answer = client.answer(false).unwrap();
    assert!(answer.body.ends_with("hello"));
    assert_eq!(answer.field("grpc-status"), Some("0"));
}
