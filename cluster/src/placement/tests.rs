//! Why an app can go nowhere, in sentences. Where it goes is tested on whole clusters.

use super::*;
use crate::id::{ClusterId, InstanceId};
use crate::liveness::Contact;
use crate::member::Member;
use crate::wire::{AGENT_SERVICE, NodeFacts};

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 0 };

/// Nodes 1, 2 and so on with these labels; a `-` in front: it was never heard.
fn state(nodes: &[&str]) -> ClusterState {
    let mut state = ClusterState::new(ClusterId(1), 1, Settings::default(), NOW);
    for (nth, text) in nodes.iter().enumerate() {
        let id = NodeId(nth as u128 + 1);
        let mut node = Node::new(Member::new(id, format!("http://10.0.0.{}:9091", nth + 1).parse().expect("a URL")), false);
        let (text, is_silent) = text.strip_prefix('-').map_or((*text, false), |text| (text, true));
        node.labels = text.split_whitespace().map(|label| crate::label::parse(label).expect("a label")).collect();
        if !is_silent {
            node.facts = Some(facts(nth as u128));
            node.contact = Contact::Up { heard_at_ms: NOW.mono_ms };
            node.reported = true;
        }
        state.nodes.insert(id, node);
    }
    state
}

fn facts(number: u128) -> NodeFacts {
    NodeFacts {
        service: AGENT_SERVICE.to_owned(),
        name: format!("node-{number}"),
        instance: InstanceId(number),
        cluster: None,
        keep_workers: false,
        os: "linux".to_owned(),
        cores: 1,
        memory_bytes: 0,
        labels: BTreeMap::new(),
        version: String::new(),
    }
}

fn app(constraints: &[&str], max_per_node: Option<u32>) -> App {
    let mut app = App::builtin();
    app.placement.constraints = constraints.iter().map(|text| text.parse().expect("a constraint")).collect();
    app.placement.max_per_node = max_per_node;
    app
}

fn why(state: &ClusterState, app: &App, on_each: u64) -> String {
    let mut load = Load::default();
    for id in state.nodes.keys() {
        (0..on_each).for_each(|_| load.add(&app.name, *id));
    }
    assert!(Candidates::new(state, app, &load, std::iter::empty(), NOW).is_empty());
    why_nowhere(state, app, &load, NOW)
}

#[test]
fn a_constraint_that_no_node_meets_is_named() {
    let state = state(&["zone=a disk=ssd", "zone=b"]);
    for (constraints, expected) in [
        (&["disk=ssd", "zone=eu"] as &[&str], "no node has label zone=eu"),
        (&["gpu"], "no node has a label gpu"),
        (&["!zone"], "every node has a label zone"),
        (&["disk=ssd", "zone=b"], "no node has disk=ssd and zone=b together"),
    ] {
        assert_eq!(why(&state, &app(constraints, None), 0), expected);
    }
    let all_alike = self::state(&["zone=a"]);
    assert_eq!(why(&all_alike, &app(&["zone!=a"], None), 0), "every node has label zone=a");
}

#[test]
fn a_node_that_was_not_heard_may_still_fit() {
    let state = state(&["zone=a", "-"]);
    assert_eq!(why(&state, &app(&["zone=eu"], None), 0), "no node has label zone=eu, and http://10.0.0.2:9091 is connecting");
    let labelled = self::state(&["zone=a", "-zone=eu"]);
    assert_eq!(why(&labelled, &app(&["zone=eu"], None), 0), "no node with zone=eu is ready: http://10.0.0.2:9091 is connecting");
}

#[test]
fn nodes_that_have_as_many_as_they_may_are_counted() {
    let state = state(&["disk=ssd", "disk=ssd", "disk=ssd", "-disk=ssd", "disk=hdd"]);
    assert_eq!(
        why(&state, &app(&["disk=ssd"], Some(2)), 2),
        "all 3 nodes with disk=ssd that are ready have 2 of 2 replicas of worker already, and http://10.0.0.4:9091 is connecting"
    );
    assert_eq!(why(&self::state(&[""]), &app(&[], Some(1)), 1), "the one node that is ready has 1 of 1 replicas of worker already");
}

#[test]
fn without_labels_the_sentences_are_as_ever() {
    assert!(why(&state(&[]), &app(&[], None), 0).starts_with("no node is registered"));
    assert_eq!(why(&state(&["-"]), &app(&[], None), 0), "no node is ready: http://10.0.0.1:9091 is connecting");
    let mut state = state(&["zone=a"]);
    for node in state.nodes.values_mut() {
        node.facts = node.facts.clone().map(|facts| NodeFacts { memory_bytes: 1, ..facts });
    }
    assert!(why(&state, &app(&[], None), 16).starts_with("all nodes are full"));
    assert!(why(&state, &app(&["zone=a"], Some(20)), 16).starts_with("each node with zone=a that is ready is full"));
}

#[test]
fn what_an_agent_says_is_taken_as_a_label_only_if_it_is_one() {
    let mut node = Node::new(Member::new(NodeId(1), "http://10.0.0.1:9091".parse().expect("a URL")), false);
    node.member.labels = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    let said = [("zone", "a"), ("disk", "ssd"), ("a b", "x"), ("x", ""), ("y", "a=b")];
    let labels = said.map(|(key, value)| (key.to_owned(), value.to_owned()));
    node.facts = Some(NodeFacts { labels: labels.into(), ..facts(1) });
    node.relabel();
    assert_eq!(node.labels, BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("zone".to_owned(), "b".to_owned())]));
    let many = (0..1_000).map(|number| (format!("k{number}"), "v".to_owned())).collect();
    node.facts = Some(NodeFacts { labels: many, ..facts(1) });
    node.relabel();
    assert_eq!(node.labels.len(), LABELS_AND_ONE);
}

const LABELS_AND_ONE: usize = crate::label::LABELS_MAX + 1;
