//! What is sent again, and what is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cluster::route::Target;
use gateway::{Face, Limits};

use crate::client::{DEADLINE, until};
use crate::rig::{Rig, direct, key, refusing, route};
use crate::upstream::{Conn, Upstream};

#[test]
fn a_replica_that_is_gone_costs_nobody_an_answer_whatever_the_method() {
    let (_held, port) = refusing();
    let replica = Upstream::named("alive");
    let rig = Rig::new(2);
    rig.publish(vec![route(1, Target::Loopback(port)), direct(2, &replica)]);
    for _ in 0..10 {
        assert_eq!(rig.get("/").body, "alive");
        assert_eq!(rig.client().post("/", "").body, "alive");
    }
}

#[test]
fn a_connection_that_the_replica_has_ended_is_not_used() {
    // Each connection takes one request, and ends without saying so in its answer.
    let replica = Upstream::start(|mut conn| {
        if let Some(head) = conn.head() {
            conn.body(if head.starts_with("POST") { 2 } else { 0 });
            conn.answer("once");
            conn.end();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for round in 0..50 {
        let answer = if round % 2 == 0 { client.get("/") } else { client.post("/", "hi") };
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn an_idempotent_request_that_got_no_byte_back_is_sent_again() {
    let is_first = Arc::new(AtomicBool::new(true));
    let replica = Upstream::start({
        move |mut conn| {
            while let Some(head) = conn.head() {
                let body = conn.body(if head.starts_with("PUT") { 5 } else { 0 }).unwrap();
                if is_first.swap(false, Ordering::SeqCst) {
                    return conn.reset();
                }
                conn.answer(&format!("got {}", String::from_utf8(body).unwrap()));
            }
        }
    });
    let other = Upstream::start({
        move |mut conn| {
            while let Some(head) = conn.head() {
                let body = conn.body(if head.starts_with("PUT") { 5 } else { 0 }).unwrap();
                conn.answer(&format!("got {}", String::from_utf8(body).unwrap()));
            }
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica), direct(2, &other)]);
    let answer = rig.client().request("PUT /", "Content-Length: 5\r\n", "hello");
    assert_eq!((answer.status, answer.body.as_str()), (200, "got hello"));
    assert_eq!((replica.requests(), other.requests()), (1, 1));
}

#[test]
fn a_request_is_sent_again_twice_and_no_more() {
    let cutting = |mut conn: Conn| {
        if conn.head().is_some() {
            conn.reset();
        }
    };
    let replicas: Vec<Upstream> = (0..5).map(|_| Upstream::start(cutting)).collect();
    let rig = Rig::new(1);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    let detail = rig.get("/").problem(502);
    assert!(detail.contains("sent twice before"), "{detail}");
    assert_eq!(replicas.iter().map(Upstream::requests).sum::<usize>(), 3);
}

#[test]
fn a_request_that_was_sent_waits_for_a_replacement_and_is_told_if_none_comes() {
    let cutting = |mut conn: Conn| {
        if conn.head().is_some() {
            conn.reset();
        }
    };
    let (only, replacement) = (Upstream::start(cutting), Upstream::named("replacement"));
    let rig = Rig::with(1, Limits { hold_ms: 300, ..Limits::default() }, Face::Apps);
    rig.publish(vec![direct(1, &only)]);
    let detail = rig.get("/").problem(502);
    assert!(detail.ends_with("got the request and ended the connection without an answer"), "{detail}");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    only.await_requests(2);
    rig.publish(vec![direct(2, &replacement)]);
    assert_eq!(client.answer(false).unwrap().body, "replacement");
}

#[test]
fn replicas_that_live_and_do_not_answer_are_told_of_before_the_time_to_wait_is_over() {
    let cutting = |mut conn: Conn| {
        if conn.head().is_some() {
            conn.reset();
        }
    };
    let replicas = [0, 1].map(|_| Upstream::start(cutting));
    let rig = Rig::with(1, Limits { hold_ms: 15_000, ..Limits::default() }, Face::Apps);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    let began = Instant::now();
    let detail = rig.get("/").problem(502);
    assert!(detail.ends_with("it had been sent once before"), "{detail}");
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for a replica that nobody would start");
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    let cutting = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.body(2);
            conn.reset();
        }
    });
    let other = Upstream::named("other");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &cutting), direct(2, &other)]);
    let detail = rig.client().post("/", "hi").problem(502);
    assert!(detail.contains("it may have carried it out, and a POST is not sent twice"), "{detail}");
    assert_eq!((cutting.requests(), other.requests()), (1, 0));
}

#[test]
fn a_body_too_large_to_be_kept_is_not_sent_again() {
    let cutting = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.body(200_000);
            conn.reset();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &cutting), direct(2, &cutting)]);
    let detail = rig.client().request("PUT /", "Content-Length: 200000\r\n", &"x".repeat(200_000)).problem(502);
    assert!(detail.contains("too large to be kept"), "{detail}");
    assert_eq!(cutting.requests(), 1);
    let detail = rig.client().request("POST /", "Content-Length: 200000\r\n", &"x".repeat(200_000)).problem(502);
    assert!(detail.contains("a POST is not sent twice"), "{detail}");
    assert_eq!(cutting.requests(), 2);
}

#[test]
fn an_answer_that_is_cut_is_not_ended_as_if_it_were_whole() {
    let replica = Upstream::start(|mut conn| {
        if let Some(head) = conn.head() {
            let framing = if head.contains("/chunked") {
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            } else {
                "Content-Length: 10\r\n\r\nhello"
            };
            conn.write(format!("HTTP/1.1 200 OK\r\n{framing}"));
            conn.end();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    for path in ["/chunked", "/length"] {
        let mut client = rig.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.answer(false).is_err(), "{path}");
        // To HTTP/1.0 a chunked answer ends with the connection: only a reset tells.
        let mut client = rig.client();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(client.answer(false).is_err(), "{path}");
    }
    assert_eq!(replica.requests(), 4);
}

#[test]
fn what_is_no_answer_is_a_502_and_is_not_asked_for_again() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("SSH-2.0-OpenSSH_9.7\r\n");
            conn.end();
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica), direct(2, &replica)]);
    assert!(rig.get("/").problem(502).contains("no answer of HTTP/1.1"));
    assert_eq!(replica.requests(), 1);
}

#[test]
fn requests_that_wait_on_a_lost_replica_are_sent_elsewhere_at_once_if_that_is_safe() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    // Takes requests and says nothing, as a host that was cut off; answers a POST when it is back.
    let silent = Upstream::start(move |mut conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
                conn.answer("late");
            }
        }
    });
    let other = Upstream::named("other");
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &silent)]);
    std::thread::scope(|scope| {
        let gets: Vec<_> = (0..4).map(|_| scope.spawn(|| rig.get("/").body)).collect();
        let post = scope.spawn(|| rig.client().post("/", "").body);
        silent.await_requests(5);
        // A replica that drains is left out of the table too, and keeps its requests.
        rig.publish(vec![direct(2, &other)]);
        assert_eq!(rig.gateway.ack().in_flight.get(&key(1)), Some(&5));
        assert!(gets.iter().all(|get| !get.is_finished()));
        rig.gateway.abandon(vec![key(1)]);
        for get in gets {
            assert_eq!(get.join().unwrap(), "other");
        }
        // What must not be done twice still waits for its own replica.
        assert!(!post.is_finished());
        release.send(()).unwrap();
        assert_eq!(post.join().unwrap(), "late");
    });
    until("nothing in flight", || rig.gateway.ack().in_flight.is_empty());
}

#[test]
fn an_answer_that_breaks_off_within_its_head_is_asked_for_again_if_that_is_safe() {
    let breaking = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Le");
            conn.end();
        }
    });
    let other = Upstream::named("other");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &breaking), direct(2, &other)]);
    // Of both one is the first choice of the one replica, and the other of the other.
    for _ in 0..2 {
        assert_eq!(rig.get("/").body, "other");
    }
    let mut posts: Vec<u16> = (0..2).map(|_| rig.client().post("/", "").status).collect();
    posts.sort_unstable();
    assert_eq!(posts, [200, 502]);
    assert_eq!(breaking.requests(), 2);
}

#[test]
fn a_request_outlives_a_node_whose_replicas_end_one_after_the_other() {
    let first = Arc::new(std::sync::OnceLock::new());
    let replicas: Vec<Upstream> = (0..3)
        .map(|_| {
            let first = Arc::clone(&first);
            Upstream::start(move |mut conn| {
                while conn.head().is_some() {
                    // They end within a moment of the first request, and have been started again after it.
                    if first.get_or_init(Instant::now).elapsed() < Duration::from_millis(100) {
                        return conn.reset();
                    }
                    conn.answer("alive");
                }
            })
        })
        .collect();
    let rig = Rig::new(1);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    assert_eq!(rig.get("/").body, "alive");
    assert_eq!(replicas.iter().map(Upstream::requests).sum::<usize>(), 3);
}
