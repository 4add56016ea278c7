//! How far a TRACE or OPTIONS may go: RFC 9110 section 7.6.2.

use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn rig() -> (Upstream, Rig) {
    let replica = Upstream::named("ok");
    let rig = Rig::new(1);
    rig.publish(vec![direct(1, &replica)]);
    (replica, rig)
}

#[test]
fn each_gateway_counts_one_down() {
    let (replica, rig) = rig();
    for (method, sent, told) in
        [("TRACE", "1", "0"), ("OPTIONS", "10", "9"), ("OPTIONS", "007", "6"), ("GET", "0", "0"), ("POST", "x", "x")]
    {
        assert_eq!(rig.client().request(&format!("{method} /"), &format!("Max-Forwards: {sent}\r\n"), "").body, "ok");
        let head = replica.heads().last().unwrap().to_lowercase();
        assert_eq!(head.matches("max-forwards").count(), 1, "{head}");
        assert!(head.contains(&format!("\r\nmax-forwards: {told}\r\n")), "{head}");
    }
    rig.client().request("OPTIONS *", "", "");
    assert!(!replica.heads().last().unwrap().to_lowercase().contains("max-forwards"));
}

#[test]
fn at_zero_the_gateway_answers() {
    let (replica, rig) = rig();
    let mut client = rig.client();
    let answer = client.request("OPTIONS /x", "Max-Forwards: 0\r\n", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.field("allow").unwrap().contains("OPTIONS") && answer.field("date").is_some(), "{answer:?}");
    // RFC 9110 section 9.3.8: what came, without what may be secret. The connection lives on.
    let answer = client.request("TRACE /x?y", "Max-Forwards: 0\r\nX-Mine: 1\r\nCookie: a=b\r\nAuthorization: c\r\n", "");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("message/http")));
    assert_eq!(answer.body, "TRACE /x?y HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nX-Mine: 1\r\n\r\n");
    assert_eq!(replica.requests(), 0);
    assert_eq!(client.get("/").body, "ok");
}

#[test]
fn what_is_not_one_number_is_refused() {
    let (replica, rig) = rig();
    for fields in ["Max-Forwards:\r\n", "Max-Forwards: -1\r\n", "Max-Forwards: 1, 0\r\n", "Max-Forwards: 1\r\nMax-Forwards: 0\r\n"] {
        rig.refused(format!("TRACE / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 400);
    }
    assert_eq!(replica.requests(), 0);
}
