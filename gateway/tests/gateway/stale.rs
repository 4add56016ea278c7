//! Connections that a replica ends while they are idle: the end may meet a request on its way (RFC 9112 section 9.6), and no client hears
//! of it.

use std::time::{Duration, Instant};

use crate::client::until;
use crate::rig::{Rig, direct};
use crate::upstream::{Conn, Upstream};

/// Answers whatever comes, and ends the connection when nothing has come for so long after an answer.
fn keeping_for(idle: Duration) -> Upstream {
    Upstream::start(move |mut conn: Conn| {
        while let Some(head) = conn.head() {
            conn.body(if head.starts_with("POST") { 2 } else { 0 });
            conn.answer("here");
            if idle.is_zero() {
                return conn.end();
            }
            conn.tcp.set_read_timeout(Some(idle)).unwrap();
        }
        conn.end();
    })
}

#[test]
fn no_request_meets_the_end_of_a_connection_that_is_ended_right_behind_its_answer() {
    let replica = keeping_for(Duration::ZERO);
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &replica)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = rig.client();
                for round in 0..200 {
                    let answer = if round % 2 == 0 { client.get("/") } else { client.post("/", "hi") };
                    assert_eq!((answer.status, answer.body.as_str()), (200, "here"), "{answer:?}");
                }
            });
        }
    });
}

#[test]
fn a_post_has_a_connection_of_its_own_until_the_replica_has_kept_one_for_a_while() {
    let replica = keeping_for(Duration::from_secs(20));
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..4 {
        assert_eq!(client.post("/", "hi").status, 200);
    }
    assert_eq!(replica.connections(), 4);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(replica.connections(), 4, "a GET uses any of them");
    // Those four are looked at while they rest, and from then on one of them carries every POST.
    let start = Instant::now();
    until("a POST on a connection that was there", || {
        std::thread::sleep(Duration::from_millis(10));
        let before = replica.connections();
        assert_eq!(client.post("/", "hi").status, 200);
        replica.connections() == before
    });
    assert!(start.elapsed() >= Duration::from_secs(1), "after {:?} nothing can have been proven", start.elapsed());
    let before = replica.connections();
    for _ in 0..20 {
        assert_eq!(client.post("/", "hi").status, 200);
    }
    assert_eq!(replica.connections(), before);
}

#[test]
fn posts_leave_few_connections_that_none_of_them_can_use() {
    let replica = keeping_for(Duration::from_secs(20));
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    let mut client = rig.client();
    for _ in 0..100 {
        assert_eq!(client.post("/", "hi").status, 200);
    }
    let open = |port: u16| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let end = format!("0100007F:{port:04X}");
        // `local remote state`: 01 is ESTABLISHED.
        let fields = |line: &str| line.split_whitespace().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
        table.lines().map(fields).filter(|fields| fields.len() == 3 && fields[0] == end && fields[2] == "01").count()
    };
    until("few connections at the replica", || open(replica.addr.port()) <= 8);
}
