//! Ways of balancing other than in turns.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cluster::route::Route;
use cluster::traffic::{Balance, Traffic};

use crate::client::{DEADLINE, until};
use crate::rig::{Rig, direct};
use crate::upstream::Upstream;

fn by(balance: &str) -> Traffic {
    Traffic { balance: balance.parse().unwrap(), ..Traffic::default() }
}

fn routes(replicas: &[Upstream]) -> Vec<Route> {
    (1..).zip(replicas).map(|(number, upstream)| direct(number, upstream)).collect()
}

#[test]
fn one_value_of_a_field_goes_to_one_replica_on_every_thread_and_many_to_all() {
    let replicas = ["a", "b", "c", "d"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish_spread(routes(&replicas), by("header:x-user"));
    let who = |user: &str| rig.client().request("GET /", &format!("X-User: {user}\r\n"), "").body;
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let first = who(&user.to_string());
        assert_eq!(BTreeSet::from_iter((0..4).map(|_| who(&user.to_string()))), BTreeSet::from([first.clone()]));
        seen.insert(first);
    }
    assert_eq!(seen.len(), 4);
    // Without the field it is spread.
    assert_eq!(BTreeSet::from_iter((0..8).map(|_| rig.get("/").body)).len(), 4);
}

#[test]
fn who_has_no_cookie_gets_one_that_keeps_it_with_its_replica() {
    let replicas = ["a", "b", "c", "d"].map(Upstream::named);
    let rig = Rig::new(2);
    rig.publish_spread(routes(&replicas), by("cookie:stay"));
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let first = rig.get("/");
        let cookie = first.field("set-cookie").unwrap().to_owned();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        assert!(pair.starts_with("stay="), "{cookie}");
        for _ in 0..3 {
            let again = rig.client().request("GET /", &format!("Cookie: other=1; {pair}\r\n"), "");
            assert_eq!((again.body.as_str(), again.field("set-cookie")), (first.body.as_str(), None));
        }
        seen.insert(first.body);
    }
    assert!(seen.len() > 1, "new clients are spread: {seen:?}");
}

#[test]
fn a_value_whose_replica_left_moves_and_the_others_stay() {
    let replicas = ["a", "b", "c", "d"].map(Upstream::named);
    let rig = Rig::new(1);
    let all = routes(&replicas);
    rig.publish_spread(all.clone(), by("header:x-user"));
    let who = |user: u32| rig.client().request("GET /", &format!("X-User: {user}\r\n"), "").body;
    let before: Vec<String> = (0..30).map(who).collect();
    rig.publish_spread(all[1..].to_vec(), by("header:x-user"));
    for (user, before) in (0..30).zip(before) {
        assert_eq!(who(user) == before, before != "a", "user {user} was on {before}");
    }
}

#[test]
fn the_replica_with_fewer_requests_is_preferred() {
    let (began, beginnings) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let busy = Upstream::start(move |mut conn| {
        while conn.head().is_some() {
            began.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(DEADLINE);
            conn.answer("busy");
        }
    });
    let free = Upstream::named("free");
    let rig = Rig::new(2);
    rig.publish_spread(vec![direct(1, &busy), direct(2, &free)], by("least-request"));
    // Until the one has a request, and keeps it.
    let mut clients = Vec::new();
    while beginnings.try_recv().is_err() {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if client.hears_within(Duration::from_millis(100)) {
            client.answer(false).unwrap();
        } else {
            clients.push(client);
        }
    }
    // Each thread of the gateway knows of it.
    assert!((0..20).all(|_| rig.get("/").body == "free"));
    release.send(()).unwrap();
    for mut client in clients {
        assert_eq!(client.answer(false).unwrap().body, "busy");
    }
    drop(release);
}

#[test]
fn a_new_replica_gets_a_small_share_first() {
    let replicas = ["a", "b"].map(Upstream::named);
    let rig = Rig::new(1);
    let slow = |slow_start_ms| Traffic { balance: Balance::RoundRobin, slow_start_ms, ..Traffic::default() };
    // Where all are new, each has its equal share.
    rig.publish_spread(routes(&replicas), slow(3_600_000));
    let count = |count: usize| {
        let mut client = rig.client();
        let before = replicas[1].requests();
        (0..count).for_each(|_| drop(client.get("/")));
        replicas[1].requests() - before
    };
    assert_eq!(count(20), 10);
    // The other one leaves and comes back: it is a new one beside an old one.
    rig.publish_spread(vec![direct(1, &replicas[0])], slow(0));
    let since = Instant::now();
    until("the first has had its time to start", || since.elapsed() > Duration::from_millis(2_000));
    rig.publish_spread(routes(&replicas), slow(2_000));
    let new = count(40);
    assert!((1..=14).contains(&new), "about a tenth at first: {new} of 40");
}
