//! The link over HTTP/1.1 against agents that misbehave.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::wire::{Assignment, News, Stamp};
use cluster::{ClusterId, NodeUrl};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rig::PATIENCE;
use super::rig::agent::{FakeAgent, Mood};
use crate::link::http1::Http1Dialer;
use crate::link::{Dialer, Error, Lines, Link, Put};

const SILENCE: Duration = Duration::from_millis(400);

fn link(url: &str) -> Arc<dyn Link> {
    let url: NodeUrl = url.parse().unwrap();
    Http1Dialer::new(SILENCE, TaskTracker::new(), CancellationToken::new()).link(&url)
}

fn assignment(generation: u64) -> Assignment {
    Assignment {
        cluster: ClusterId(7),
        stamp: Stamp { epoch: 3, generation },
        requires: vec![],
        lease_ms: 1000,
        take_over: false,
        specs: BTreeMap::new(),
        replicas: vec![],
    }
}

async fn end_of(mut lines: Box<dyn Lines>) -> Error {
    let reading = async {
        loop {
            if let Err(error) = lines.next().await {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the stream does not end")
}

#[tokio::test]
async fn facts_and_lines_come_from_an_agent() {
    let agent = FakeAgent::start().await;
    let link = link(&agent.url());
    let facts = link.facts().await.unwrap();
    let mut lines = link.observe().await.unwrap();
    let first = lines.next().await.unwrap();
    assert_eq!((first.seq, first.instance), (1, facts.instance));
    assert!(matches!(first.news, News::Snapshot(_)));
    assert!(matches!(lines.next().await.unwrap().news, News::Heartbeat(_)));
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_and_it_is_refused_only_if_all_refuse() {
    // An agent on ::1 alone; something else on 127.0.0.1.
    let Ok(probe) = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        eprintln!("SKIPPED: this host has no ::1");
        return;
    };
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let agent = FakeAgent::start_at((Ipv6Addr::LOCALHOST, port).into()).await;
    let link = link(&format!("http://localhost:{port}"));
    let facts = link.facts().await.unwrap();

    let stranger = FakeAgent::start_at((Ipv4Addr::LOCALHOST, port).into()).await;
    stranger.set_mood(Mood::Stranger);
    assert_eq!(link.facts().await.unwrap().instance, facts.instance);
    assert_eq!(link.put(&assignment(1)).await.unwrap(), Put::Accepted);
    assert_eq!(agent.assignments().len(), 1);

    agent.kill().await;
    let error = link.facts().await.unwrap_err();
    assert!(!error.is_refused(), "{error}");
    stranger.kill().await;
    let error = link.facts().await.unwrap_err();
    assert!(error.is_refused(), "{error}");
    assert!(error.to_string().contains(&format!("localhost:{port}")), "{error}");
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_given_up_on_in_time() {
    let agent = FakeAgent::start().await;
    agent.set_mood(Mood::Mute);
    let link = link(&agent.url());
    let began = Instant::now();
    let first = assignment(1);
    let (facts, lines, put) = tokio::join!(link.facts(), link.observe(), link.put(&first));
    assert!(matches!(facts, Err(Error::TimedOut { .. })));
    assert!(matches!(lines.err(), Some(Error::TimedOut { .. })));
    assert!(matches!(put, Err(Error::TimedOut { .. })));
    assert!(began.elapsed() < Duration::from_secs(3));
    agent.set_mood(Mood::Good);
    assert_eq!(link.put(&assignment(1)).await.unwrap(), Put::Accepted);
}

#[tokio::test]
async fn a_stream_that_is_silent_garbled_or_endless_is_cut() {
    let agent = FakeAgent::start().await;
    let link = link(&agent.url());
    for (mood, expected) in [(Mood::Silent, "no answer"), (Mood::Garbled, "cannot be understood"), (Mood::Endless, "a line of more than")] {
        agent.set_mood(mood);
        let error = end_of(link.observe().await.unwrap()).await.to_string();
        assert!(error.contains(expected), "{mood:?}: {error}");
    }
    agent.set_mood(Mood::Good);
    let lines = link.observe().await.unwrap();
    let (end, _) = tokio::join!(end_of(lines), agent.kill());
    assert!(matches!(end, Error::Broken { .. }), "{end}");
}

#[tokio::test]
async fn what_is_no_agent_says_so() {
    let agent = FakeAgent::start().await;
    agent.set_mood(Mood::Stranger);
    let error = link(&agent.url()).facts().await.unwrap_err();
    assert!(matches!(error, Error::NoAgent { .. }), "{error}");
    let error = link("http://no-such-host.invalid:9091").facts().await.unwrap_err();
    assert!(matches!(error, Error::Unresolved { .. }), "{error}");
}

#[tokio::test]
async fn an_assignment_is_accepted_or_refused_with_what_the_agent_has() {
    let agent = FakeAgent::start().await;
    let link = link(&agent.url());
    assert_eq!(link.put(&assignment(5)).await.unwrap(), Put::Accepted);
    assert_eq!(link.put(&assignment(5)).await.unwrap(), Put::Accepted);
    match link.put(&assignment(4)).await.unwrap() {
        Put::Conflict { held, detail } => {
            assert_eq!(held.stamp, Some(Stamp { epoch: 3, generation: 5 }));
            assert!(detail.contains("older"), "{detail}");
        }
        Put::Accepted => panic!("an older one was accepted"),
    }
    agent.set_mood(Mood::Unable);
    let error = link.put(&assignment(6)).await.unwrap_err().to_string();
    assert!(error.contains("422") && error.contains("cannot do that"), "{error}");
}

#[tokio::test]
async fn a_kept_connection_that_the_agent_closed_costs_nothing() {
    let agent = FakeAgent::start().await;
    let link = link(&agent.url());
    assert_eq!(link.put(&assignment(1)).await.unwrap(), Put::Accepted);
    let address = agent.kill().await;
    let agent = FakeAgent::start_at(address).await;
    agent.set_mood(Mood::Abrupt);
    for generation in 2..6 {
        assert_eq!(link.put(&assignment(generation)).await.unwrap(), Put::Accepted);
    }
    assert_eq!(agent.assignments().len(), 4);
}
