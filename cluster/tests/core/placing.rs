//! Where replicas go when their app says something about nodes: as sentences, over random clusters with faults.

use std::collections::BTreeMap;

use cluster::plan::ActionKind;
use cluster::wire::AssignedPhase;
use cluster::{App, NodeId};
use proptest::prelude::*;

use crate::world::World;

const ZONES: [&str; 3] = ["a", "b", "c"];

/// What happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    Scale(u32),
    Kill(usize),
    Restart(usize),
    Goodbye(usize),
    CrashWorker(usize),
    Label(usize, usize),
    MaxPerNode(Option<u32>),
    Constrain(usize),
    ControllerRestart,
    Wait(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u32..12).prop_map(Event::Scale),
        2 => (0usize..5).prop_map(Event::Kill),
        3 => (0usize..5).prop_map(Event::Restart),
        1 => (0usize..5).prop_map(Event::Goodbye),
        1 => (0usize..5).prop_map(Event::CrashWorker),
        2 => (0usize..5, 0usize..4).prop_map(|(node, zone)| Event::Label(node, zone)),
        1 => prop::option::of(1u32..4).prop_map(Event::MaxPerNode),
        2 => (0usize..4).prop_map(Event::Constrain),
        1 => Just(Event::ControllerRestart),
        6 => (1u32..80).prop_map(Event::Wait),
    ]
}

fn label(world: &mut World, node: usize, zone: usize) {
    match ZONES.get(zone) {
        Some(zone) => world.label(node, &[("zone", *zone)]),
        None => world.label(node, &[]),
    }
}

fn inject(world: &mut World, event: &Event) {
    match event {
        Event::Scale(count) => world.scale(*count),
        Event::Kill(nth) => world.kill(*nth),
        Event::Restart(nth) => {
            if *nth < world.agents.len() {
                world.restart_if_dead(*nth);
            }
        }
        Event::Goodbye(nth) => world.goodbye(*nth),
        Event::CrashWorker(nth) => world.crash_worker(*nth),
        Event::Label(node, zone) => label(world, *node, *zone),
        Event::MaxPerNode(most) => {
            world.apps[0].placement.max_per_node = *most;
            world.desire();
        }
        Event::Constrain(zone) => {
            let constraints = ZONES.get(*zone).map(|zone| format!("zone!={zone}").parse().unwrap());
            world.apps[0].placement.constraints = constraints.into_iter().collect();
            world.desire();
        }
        Event::ControllerRestart => world.restart_controller(),
        Event::Wait(steps) => world.run(*steps),
    }
}

/// Checks every placement of the last step.
fn check(world: &World) {
    let app = &world.apps[0];
    for step in &world.last {
        let mut started: BTreeMap<NodeId, u32> = BTreeMap::new();
        for action in step.plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::Start { .. })) {
            let node = &step.after.nodes[&action.node];
            for constraint in &app.placement.constraints {
                assert!(constraint.holds(&node.labels), "{constraint} does not hold for {:?}", node.labels);
            }
            *started.entry(action.node).or_default() += 1;
        }
        for (node, _) in started {
            let there = step.after.slots.values().filter(|slot| slot.node == node).count();
            let most = app.placement.max_per_node.map_or(usize::MAX, |most| most as usize);
            assert!(there <= most, "{there} replicas on a node that takes {most}");
        }
        for action in step.plan.actions.iter().filter(|action| action.kind == ActionKind::Drain) {
            let is_scaled_down = action.reason.contains("are wanted");
            let is_going = action.reason.contains("going") || action.reason.contains("ending") || action.reason.contains("not wanted");
            let has_failed = action.reason.contains("in a row");
            assert!(is_scaled_down || is_going || has_failed, "it ran well and was moved: {}", action.reason);
        }
    }
}

/// Replicas that run, by zone; nodes without the label together.
fn by_zone(world: &World) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in world.controller.nodes.values() {
        counts.entry(node.labels.get("zone").cloned().unwrap_or_default()).or_default();
    }
    for slot in world.controller.slots.values().filter(|slot| slot.phase == AssignedPhase::Run) {
        let node = &world.controller.nodes[&slot.node];
        *counts.entry(node.labels.get("zone").cloned().unwrap_or_default()).or_default() += 1;
    }
    counts
}

fn skew(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().max().copied().unwrap_or(0) - counts.values().min().copied().unwrap_or(0)
}

fn spread(app: &mut App) {
    app.placement.spread = Some("zone".to_owned());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn constraints_hold_for_what_is_placed_no_node_gets_more_than_its_most_and_nothing_well_is_moved(
        nodes in 1usize..6, spreads in any::<bool>(), events in prop::collection::vec(event(), 1..40)
    ) {
        let mut world = World::new(nodes);
        if spreads {
            spread(&mut world.apps[0]);
        }
        for event in &events {
            inject(&mut world, event);
            world.run_checked(1, check);
        }
    }

    #[test]
    fn replicas_are_even_over_the_values_and_then_over_nodes_whatever_counts_were_asked_for(
        zones in prop::collection::vec(0usize..4, 1..9), counts in prop::collection::vec(0u32..30, 1..6)
    ) {
        let mut world = World::new(zones.len());
        for (node, zone) in zones.iter().enumerate() {
            label(&mut world, node, *zone);
        }
        spread(&mut world.apps[0]);
        for count in counts {
            world.scale(count);
            world.run(30);
            let zones = by_zone(&world);
            prop_assert_eq!(zones.values().sum::<usize>(), count as usize);
            prop_assert!(skew(&zones) <= 1, "{:?}", zones);
            for zone in zones.keys() {
                let of_zone = world.controller.nodes.iter().filter(|(_, node)| node.labels.get("zone").cloned().unwrap_or_default() == *zone);
                let on: Vec<usize> =
                    of_zone.map(|(id, _)| world.controller.slots.values().filter(|slot| slot.node == *id && slot.phase == AssignedPhase::Run).count()).collect();
                prop_assert!(on.iter().max().unwrap() - on.iter().min().unwrap() <= 1, "{:?} in zone {}", on, zone);
            }
        }
    }

    #[test]
    fn a_value_that_is_full_leaves_the_rest_to_the_others(small in 1u32..3, count in 0u32..16) {
        // One node in zone a, three in zone b, so many each.
        let mut world = World::new(4);
        for node in 0..4 {
            label(&mut world, node, usize::from(node > 0));
        }
        spread(&mut world.apps[0]);
        world.apps[0].placement.max_per_node = Some(small);
        world.scale(count);
        world.run(30);
        let zones = by_zone(&world);
        prop_assert_eq!(zones.values().sum::<usize>(), (count as usize).min(4 * small as usize));
        prop_assert!(skew(&zones) <= 1 || zones["a"] == small as usize, "{:?}", zones);
        let waiting = world.controller.waiting.values().flatten().any(|sentence| sentence.contains("all 4 nodes that are ready have"));
        prop_assert_eq!(waiting, count > 4 * small);
    }
}

#[test]
fn labels_and_constraints_that_change_move_nothing_that_runs() {
    let mut world = World::new(2);
    label(&mut world, 0, 0);
    world.apps[0].placement.constraints = vec!["zone=a".parse().unwrap()];
    world.scale(2);
    world.run(40);
    let before = world.process_ids();
    assert_eq!(before.len(), 2);
    label(&mut world, 0, 1);
    label(&mut world, 1, 0);
    world.run(200);
    assert_eq!(before, world.process_ids());
    // What is new goes where the constraint holds now.
    world.scale(3);
    world.run(40);
    assert_eq!(world.controller.slots.values().filter(|slot| slot.node == NodeId(2)).count(), 1);
}

#[test]
fn a_node_that_goes_is_not_waited_for_where_no_other_may_take_its_replicas() {
    let mut world = World::new(2);
    label(&mut world, 0, 0);
    label(&mut world, 1, 1);
    world.apps[0].placement.constraints = vec!["zone=a".parse().unwrap()];
    world.scale(1);
    world.run(40);
    world.goodbye(0);
    world.run(3);
    let drains = world.controller.slots.values().all(|slot| slot.phase != AssignedPhase::Run);
    assert!(drains, "{:#?}", world.controller.slots);
    let waiting: Vec<&String> = world.controller.waiting.values().flatten().collect();
    assert!(
        waiting.iter().any(|sentence| sentence.contains("no node with zone=a is ready: http://10.0.0.1:9091 is draining")),
        "{waiting:?}"
    );
}
