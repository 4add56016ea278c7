//! What the gateway counts.

use cluster::route::RoutingTable;
use gateway::{Face, Limits};

use crate::client::until;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

#[test]
fn requests_are_counted_by_the_class_of_their_status_with_their_times() {
    let replica = Upstream::start(|mut conn| {
        while let Some(head) = conn.head() {
            let status = head.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
            conn.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let rig = Rig::new(2);
    rig.publish(vec![direct(1, &replica)]);
    for status in [200, 201, 301, 404, 404, 500] {
        assert_eq!(rig.get(&format!("/{status}")).status, status);
    }
    rig.refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    // A request ends a moment after its client has read the last byte.
    until("all have ended", || rig.figures().in_flight == 0);
    let figures = rig.figures();
    assert_eq!(figures.ended, [0, 0, 2, 1, 2, 1]);
    assert_eq!((figures.first_byte.count(), figures.whole.count()), (6, 6));
    assert!(figures.whole.sum_us() >= figures.first_byte.sum_us());
    until("the connections are gone", || {
        let all = rig.gateway.observer().figures();
        (all.connections, all.refused) == (0, 1)
    });
}

#[test]
fn a_request_that_waits_is_seen_and_a_client_that_goes_away_is_counted() {
    let rig = Rig::with(1, Limits { half_closed_ms: 200, ..Limits::default() }, Face::Apps);
    rig.publish_table(rig.table(1, Vec::new()));
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it waits", || rig.figures().holding == 1);
    let replica = Upstream::named("a");
    rig.publish(vec![direct(1, &replica)]);
    assert_eq!(client.answer(false).unwrap().body, "a");
    until("it has ended", || rig.figures().in_flight == 0);
    assert_eq!((rig.figures().held, rig.figures().holding), (1, 0));

    let silent = Upstream::start(|mut conn| while conn.head().is_some() {});
    rig.publish(vec![direct(2, &silent)]);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.await_requests(1);
    assert_eq!(rig.figures().in_flight, 1);
    drop(client);
    until("it is counted", || rig.figures().ended == [1, 0, 1, 0, 0, 0]);
}

#[test]
fn an_app_that_left_the_table_leaves_the_figures() {
    let rig = Rig::new(1);
    rig.publish_table(RoutingTable { version: 1, ..RoutingTable::default() });
    assert!(rig.gateway.observer().figures().apps.is_empty());
    assert_eq!(rig.get("/").status, 503);
    until("it was for nobody", || rig.gateway.observer().figures().refused == 1);
}
