//! Replicas on other hosts, through their agents.

use std::net::TcpListener;
use std::sync::Arc;

use cluster::route::Target;
use gateway::{Face, Limits};

use crate::rig::{Rig, key, route};
use crate::upstream::{Conn, Upstream};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ostler-tunnel\r\n\r\n";

fn agent(serve: impl Fn(&mut Conn) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |mut conn| {
        if let Some(head) = conn.head() {
            let expected = format!("GET /v1/replicas/{}/tunnel HTTP/1.1\r\n", key(1).replica);
            assert!(head.starts_with(&expected), "{head}");
            assert!(head.contains("\r\nConnection: Upgrade\r\nUpgrade: ostler-tunnel\r\n"), "{head}");
            serve(&mut conn);
        }
    })
}

fn tunnelled(agent: &Upstream) -> Vec<cluster::route::Route> {
    vec![route(1, Target::Tunnel(agent.addr.to_string()))]
}

#[test]
fn requests_go_through_the_tunnel_and_keep_it() {
    let agent = agent(|conn| {
        conn.write(SWITCH);
        while conn.head().is_some() {
            conn.answer("far away");
        }
    });
    let rig = Rig::new(1);
    rig.publish(tunnelled(&agent));
    for _ in 0..5 {
        assert_eq!(rig.get("/").body, "far away");
    }
    assert_eq!(agent.connections(), 1);
    assert!(agent.heads()[1].starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn the_agents_answer_may_come_in_pieces() {
    let agent = agent(|conn| {
        for byte in SWITCH.bytes() {
            conn.write([byte]);
            std::thread::yield_now();
        }
        while conn.head().is_some() {
            conn.answer("whole");
        }
    });
    let rig = Rig::new(1);
    rig.publish(tunnelled(&agent));
    assert_eq!(rig.get("/").body, "whole");
}

#[test]
fn an_agent_that_refuses_or_says_nothing_costs_a_try_of_another_replica() {
    let refusing = agent(|conn| {
        conn.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let silent = agent(|conn| while conn.head().is_some() {});
    let endless = agent(|conn| while conn.write("x: y\r\n") {});
    let good = Upstream::named("good");
    let limits = Limits { connect_ms: 200, ..Limits::default() };
    for bad in [&refusing, &silent, &endless] {
        let rig = Rig::with(1, limits.clone(), Face::Apps);
        let mut routes = tunnelled(bad);
        routes.push(crate::rig::direct(2, &good));
        rig.publish(routes);
        for _ in 0..2 {
            assert_eq!(rig.client().post("/", "").body, "good");
        }
    }
}

#[test]
fn an_agent_by_name_is_found() {
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let agent = Arc::new(Upstream::on(listener, |mut conn| {
        conn.head();
        conn.write(SWITCH);
        while conn.head().is_some() {
            conn.answer("by name");
        }
    }));
    let rig = Rig::new(1);
    rig.publish(vec![route(1, Target::Tunnel(format!("localhost:{port}")))]);
    assert_eq!(rig.get("/").body, "by name");
    assert!(agent.heads()[0].contains(&format!("\r\nHost: localhost:{port}\r\n")));
}

#[test]
fn what_waits_on_a_host_that_is_lost_is_sent_elsewhere_or_told() {
    let silent = agent(|conn| {
        conn.write(SWITCH);
        while conn.head().is_some() {}
    });
    let good = Upstream::named("good");
    let rig = Rig::new(2);
    rig.publish(tunnelled(&silent));
    std::thread::scope(|scope| {
        let get = scope.spawn(|| rig.get("/").body);
        let post = scope.spawn(|| rig.client().post("/", ""));
        // The call for the tunnel of each, and the request behind it.
        silent.await_requests(4);
        rig.publish(vec![crate::rig::direct(2, &good)]);
        rig.gateway.abandon(vec![key(1)]);
        assert_eq!(get.join().unwrap(), "good");
        let detail = post.join().unwrap().problem(502);
        assert!(detail.contains("its host was lost before an answer came; it may have carried it out"), "{detail}");
    });
    assert_eq!(good.requests(), 1);
}
