//! What replicas are told of where a request came from: who is believed, and what is added (RFC 7239, RFC 9110 section 7.6.3).

use std::net::Ipv6Addr;

use gateway::{Config, Face};

use crate::client::Client;
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

/// What a replica was told last: the values of these fields, in their order.
fn told(replica: &Upstream, name: &str) -> Vec<String> {
    let heads = replica.heads();
    let is_meant = |line: &&str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
    heads.last().unwrap().lines().filter(is_meant).map(|line| line[name.len() + 2..].to_owned()).collect()
}

const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n\
    X-Forwarded-Port: 443\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: id-1\r\nX_Forwarded_For: 8.8.8.8\r\nx_request_id: id-2\r\nVia: 2.0 front\r\n";

/// OWASP's and everybody's rule: what nobody vouches for is not passed on, in no spelling. Loopback is not trusted by itself.
#[test]
fn an_untrusted_peer_is_not_believed() {
    let replica = Upstream::named("ok");
    for rig in [Rig::new(1), Rig::trusting("10.0.0.0/8")] {
        rig.publish(vec![direct(1, &replica)]);
        rig.client().request("GET /", CLAIMS, "");
        assert_eq!(told(&replica, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(told(&replica, "x-forwarded-proto"), ["http"]);
        assert_eq!(told(&replica, "x-forwarded-host"), ["a.test"]);
        assert_eq!(told(&replica, "forwarded"), ["for=127.0.0.1;host=\"a.test\";proto=http"]);
        assert_eq!(told(&replica, "via"), ["2.0 front", "1.1 ostler"]);
        assert!(told(&replica, "x-forwarded-port").is_empty());
        let ids = told(&replica, "x-request-id");
        assert!(ids.len() == 1 && ids[0].len() == 32, "{ids:?}");
        assert!(!replica.heads().last().unwrap().contains('_'), "{:?}", replica.heads());
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let replica = Upstream::named("ok");
    let rig = Rig::trusting("127.0.0.0/8");
    rig.publish(vec![direct(1, &replica)]);
    rig.client().request("GET /", CLAIMS, "");
    assert_eq!(told(&replica, "x-forwarded-for"), ["6.6.6.6, 7.7.7.7, 127.0.0.1"]);
    assert_eq!(told(&replica, "x-forwarded-proto"), ["https"]);
    assert_eq!(told(&replica, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(told(&replica, "x-forwarded-port"), ["443"]);
    assert_eq!(told(&replica, "forwarded"), ["for=6.6.6.6, for=127.0.0.1;host=\"a.test\";proto=http"]);
    assert_eq!(told(&replica, "via"), ["2.0 front", "1.1 ostler"]);
    assert_eq!(told(&replica, "x-request-id"), ["id-1"]);
    assert!(!replica.heads().last().unwrap().contains('_'), "{:?}", replica.heads());
    // What it does not say is as with anybody else.
    rig.get("/");
    assert_eq!(told(&replica, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(told(&replica, "forwarded"), ["for=127.0.0.1;host=\"a.test\";proto=http"]);
    assert_eq!((told(&replica, "x-forwarded-proto"), told(&replica, "x-forwarded-host")), (vec!["http".into()], vec!["a.test".into()]));
}

/// A trusted proxy may pass on what its client made up.
#[test]
fn what_is_malformed_or_contradicts_itself_is_not_passed_on() {
    let replica = Upstream::named("ok");
    let rig = Rig::trusting("127.0.0.1");
    rig.publish(vec![direct(1, &replica)]);
    let ours = "for=127.0.0.1;host=\"a.test\";proto=http";
    for (fields, name, expected) in [
        ("Forwarded: for=\"6.6.6.6\r\n", "forwarded", ours),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "x-forwarded-proto", "http"),
        ("X-Forwarded-Host: a\r\nX-Forwarded-Host: b\r\n", "x-forwarded-host", "a.test"),
        ("X-Forwarded-For:\r\n", "x-forwarded-for", "127.0.0.1"),
        // CVE-2024-45410: a client has them removed. Ours stay.
        ("X-Forwarded-For: 6.6.6.6\r\nConnection: x-forwarded-for\r\n", "x-forwarded-for", "127.0.0.1"),
        ("Forwarded: for=6.6.6.6\r\nConnection: forwarded, via\r\n", "forwarded", ours),
        ("Via: 1.1 a\r\nConnection: via\r\n", "via", "1.1 ostler"),
    ] {
        rig.client().request("GET /", fields, "");
        assert_eq!(told(&replica, name), [expected], "{fields:?}");
    }
    let long = "a".repeat(129);
    for ids in
        ["X-Request-Id: a b\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id: <x>\r\n", &format!("X-Request-Id: {long}\r\n")]
    {
        rig.client().request("GET /", ids, "");
        let told = told(&replica, "x-request-id");
        assert!(told.len() == 1 && told[0].len() == 32, "{ids:?}: {told:?}");
    }
}

/// RFC 7239 section 6: an address of IPv6 is in brackets, and in quotes for its colons; so is a host with a port.
#[test]
fn an_address_of_ipv6_and_a_port_are_quoted() {
    let replica = Upstream::named("ok");
    let config = Config { threads: 1, ..Config::default() };
    let rig = Rig::at(Ipv6Addr::LOCALHOST.into(), config, Face::Apps);
    rig.publish(vec![direct(1, &replica)]);
    rig.client().tap("GET / HTTP/1.0\r\nHost: [::1]:8000\r\n\r\n");
    assert_eq!(told(&replica, "x-forwarded-for"), ["::1"]);
    assert_eq!(told(&replica, "forwarded"), ["for=\"[::1]\";host=\"[::1]:8000\";proto=http"]);
    // RFC 9110 section 7.6.3: the version is that of the message as it came.
    assert_eq!(told(&replica, "via"), ["1.0 ostler"]);
}

/// A trailer is merged into the fields by many programs (RFC 9110 section 6.5.1).
#[test]
fn trailers_claim_nothing() {
    let replica = Upstream::start(|mut conn| {
        while conn.head().is_some() {
            let mut sent = conn.until(b"\r\n\r\n").unwrap();
            sent.retain(|byte| *byte != b'\r');
            conn.answer(&String::from_utf8(sent).unwrap());
        }
    });
    let rig = Rig::trusting("127.0.0.1");
    rig.publish(vec![direct(1, &replica)]);
    let mut client = Client::connect(rig.addr);
    let body = "0\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\nX-Kept: yes\r\n\r\n";
    let answer = client.tap(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    assert_eq!(answer.body.to_lowercase(), "0\nx-kept: yes\n\n");
}
