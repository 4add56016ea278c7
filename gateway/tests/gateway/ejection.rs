//! Replicas that get no requests for a while, and requests that are sent again within a budget.

use std::time::Duration;

use cluster::outlier::Reason;
use cluster::route::Target;
use cluster::traffic::Traffic;
use gateway::{Face, Limits};

use crate::client::until;
use crate::rig::{Rig, direct, refusing, route};
use crate::upstream::Upstream;

fn failing(name: &'static str) -> Upstream {
    Upstream::start(move |mut conn| {
        while conn.head().is_some() && conn.write(format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{name}", name.len())) {}
    })
}

#[test]
fn a_replica_to_which_no_connection_opens_is_asked_no_more_for_a_while() {
    let (_held, port) = refusing();
    let good = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &good[0]), direct(2, &good[1]), route(3, Target::Loopback(port))]);
    let mut client = rig.client();
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
    }
    // A request is counted when its answer has gone out.
    until("all are counted", || rig.figures().ended[2] == 30);
    let figures = rig.figures();
    assert_eq!((figures.replays, figures.ejected, figures.ejections[&Reason::Connect]), (3, 1, 1));
    assert_eq!((figures.ended[2], figures.retries), (30, 0));
}

#[test]
fn a_replica_that_alone_answers_by_errors_is_left_out() {
    let replicas = [Upstream::named("a"), failing("b"), Upstream::named("c")];
    let rig = Rig::new(2);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    let mut client = rig.client();
    until("it is left out", || {
        client.get("/");
        rig.figures().ejections[&Reason::Errors] == 1
    });
    let before = replicas[1].requests();
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(rig.get("/").status, 200);
    }
    assert_eq!(replicas[1].requests(), before);
}

#[test]
fn where_all_answer_by_errors_or_nobody_may_be_left_out_all_get_their_turns() {
    for (replicas, max_ejected_percent) in [([failing("a"), failing("b")], 50), ([failing("a"), Upstream::named("b")], 0)] {
        let rig = Rig::new(1);
        let routes = (1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect();
        rig.publish_spread(routes, Traffic { max_ejected_percent, ..Traffic::default() });
        let mut client = rig.client();
        let began = std::time::Instant::now();
        let mut sent = 0;
        // Long enough for several looks at them.
        until("a second of requests", || {
            client.get("/");
            sent += 1;
            began.elapsed().as_millis() > 1_000 && sent % 2 == 0
        });
        assert_eq!(rig.figures().ejections[&Reason::Errors], 0);
        assert_eq!(replicas.each_ref().map(Upstream::requests), [sent / 2; 2]);
    }
}

#[test]
fn requests_are_sent_again_only_within_the_budget() {
    // Every replica cuts every request that it got: each may be sent twice more, until the budget of an app without other traffic is spent.
    let cutting = |mut conn: crate::upstream::Conn| {
        if conn.head().is_some() {
            conn.reset();
        }
    };
    let replicas: Vec<Upstream> = (0..3).map(|_| Upstream::start(cutting)).collect();
    let rig = Rig::new(1);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    // All at once: one after the other they would be too slow, since the last repetition waits a moment.
    let details: Vec<String> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..100).map(|_| scope.spawn(|| rig.get("/").problem(502))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    let told = details.iter().find(|detail| detail.contains("a fifth")).unwrap_or(&details[0]);
    assert!(told.contains("is not sent again, since the budget of app worker for that"), "{told}");
    let figures = rig.figures();
    // A hundred, and a fifth of those that came.
    assert!((100..=160).contains(&figures.retries), "{figures:?}");
    assert!(figures.retries_refused >= 1);
}

#[test]
fn a_replica_that_hangs_gets_no_more_requests_while_the_others_answer() {
    let hanging = Upstream::start(|mut conn| while conn.head().is_some() {});
    let good = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &good[0]), direct(2, &good[1]), direct(3, &hanging)]);
    let mut waiting = Vec::new();
    until("it is left out", || {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if client.hears_within(Duration::from_millis(50)) {
            client.answer(false).unwrap();
        } else {
            waiting.push(client);
        }
        rig.figures().ejections[&Reason::Hang] == 1
    });
    let before = hanging.requests();
    assert!((0..20).all(|_| rig.get("/").status == 200));
    assert_eq!(hanging.requests(), before);
}

#[test]
fn a_client_that_does_not_send_its_body_is_no_fault_of_the_replica() {
    let replicas = [0, 1].map(|_| Upstream::start(|mut conn| while conn.head().is_some() {}));
    let limits = Limits { first_byte_ms: 200, body_idle_ms: 400, ..Limits::default() };
    let rig = Rig::with(1, limits, Face::Apps);
    rig.publish((1..).zip(&replicas).map(|(number, upstream)| direct(number, upstream)).collect());
    for begun in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5;",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: ",
    ] {
        let mut client = rig.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{begun}"));
        client.answer(false).unwrap().problem(408);
    }
}
