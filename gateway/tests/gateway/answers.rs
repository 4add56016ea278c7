//! Answers of replicas: what is not exactly one well-formed message is a 502 (RFC 9112 section 6.3, RFC 9110 section 15.6.3).

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// A replica that answers each request by the bytes of the same number.
fn scripted(answers: &'static [&'static str]) -> (Upstream, Rig) {
    let replica = Upstream::start(move |mut conn| {
        while let Some(head) = conn.head() {
            let number: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            conn.write(answers[number]);
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    (replica, rig)
}

#[test]
fn a_malformed_answer_is_a_502() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let (_replica, rig) = scripted(ANSWERS);
    let mut client = rig.client();
    for (number, sent) in ANSWERS.iter().enumerate() {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.status, 502, "{sent:?}: {answer:?}");
        answer.problem(502);
    }
}

#[test]
fn odd_answers_that_are_well_formed_go_through() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 299 Of its own\r\ncOnTent-lEngth:2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX:\r\nX: \r\nX-\u{41}: \t a \t\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok",
    ];
    let (replica, rig) = scripted(ANSWERS);
    let mut client = rig.client();
    for (number, sent) in ANSWERS.iter().enumerate() {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.body, "ok", "{sent:?}: {answer:?}");
        // RFC 9110 section 6.6.1.
        assert!(answer.field("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
        // RFC 9110 section 15.5.22.
        assert_eq!(answer.field("upgrade"), (answer.status == 426).then_some("websocket"));
    }
    assert_eq!(replica.connections(), 1);
}

/// RFC 9110 section 8.6: a 204 has no length, and nothing follows it.
#[test]
fn a_204_has_neither_length_nor_body() {
    const ANSWERS: &[&str] =
        &["HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"];
    let (replica, rig) = scripted(ANSWERS);
    let mut client = rig.client();
    for number in 0..ANSWERS.len() {
        let answer = client.get(&format!("/{number}"));
        assert_eq!((answer.status, answer.field("content-length"), answer.field("transfer-encoding")), (204, None, None));
    }
    assert_eq!(replica.connections(), 1);
}

/// A head has its limits in this direction too.
#[test]
fn an_answer_whose_head_is_endless_is_a_502() {
    let replica = Upstream::start(|mut conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\n");
            while conn.write("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n") {}
        }
    });
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    rig.get("/").problem(502);
}
