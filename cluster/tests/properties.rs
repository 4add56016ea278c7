//! Safety and liveness of the control loop, as sentences, over random clusters with faults.
//!
//! A world of pretended agents obeys assignments through the same fence as the real one; everything runs from one list of
//! random faults, so a failure replays.
#![allow(clippy::unwrap_used)]

mod world;

use cluster::Event;
use cluster::node::NodeState;
use cluster::plan::{ActionKind, plan};
use cluster::wire::AssignedPhase;
use cluster::{IdSource, Now};
use proptest::prelude::*;

use world::World;

/// What can happen to a cluster.
#[derive(Clone, Debug)]
enum Fault {
    Scale(u32),
    Kill(usize),
    Restart(usize),
    Cut(usize),
    Heal(usize),
    Goodbye(usize),
    CutAll,
    HealAll,
    CrashWorker(usize),
    ControllerRestart,
    ControllerFrozen,
    Remove(usize),
    AddBack(usize),
    Wait(u32),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => (0u32..12).prop_map(Fault::Scale),
        2 => (0usize..4).prop_map(Fault::Kill),
        3 => (0usize..4).prop_map(Fault::Restart),
        2 => (0usize..4).prop_map(Fault::Cut),
        3 => (0usize..4).prop_map(Fault::Heal),
        1 => (0usize..4).prop_map(Fault::Goodbye),
        1 => Just(Fault::CutAll),
        2 => Just(Fault::HealAll),
        2 => (0usize..4).prop_map(Fault::CrashWorker),
        1 => Just(Fault::ControllerRestart),
        1 => Just(Fault::ControllerFrozen),
        1 => (0usize..4).prop_map(Fault::Remove),
        2 => (0usize..4).prop_map(Fault::AddBack),
        6 => (1u32..80).prop_map(Fault::Wait),
    ]
}

fn inject(world: &mut World, fault: &Fault) {
    match fault {
        Fault::Scale(count) => world.scale(*count),
        Fault::Kill(nth) => world.kill(*nth),
        Fault::Restart(nth) => world.restart(*nth),
        Fault::Cut(nth) => world.set_reachable(*nth, false),
        Fault::Heal(nth) => world.set_reachable(*nth, true),
        Fault::Goodbye(nth) => world.goodbye(*nth),
        Fault::CutAll => (0..world.agents.len()).for_each(|nth| world.set_reachable(nth, false)),
        Fault::HealAll => (0..world.agents.len()).for_each(|nth| world.set_reachable(nth, true)),
        Fault::CrashWorker(nth) => world.crash_worker(*nth),
        Fault::ControllerRestart => world.restart_controller(),
        Fault::ControllerFrozen => world.freeze_controller(10_000),
        Fault::Remove(nth) => world.remove(*nth),
        Fault::AddBack(nth) => world.add_back(*nth),
        Fault::Wait(steps) => world.run(*steps),
    }
}

/// Checks what must hold at every step.
fn check(world: &World) {
    let desired = world.desired();
    for step in &world.last {
        let running = step.after.slots.values().filter(|slot| slot.phase == AssignedPhase::Run).count();
        let surge = step.plan.surge.values().sum::<u32>() as usize;
        assert!(running <= desired as usize + surge, "more than desired ({desired}) + surge ({surge}): {running}\n{:#?}", step.plan);
        let going = step.after.slots.values().filter(|slot| step.after.nodes.get(&slot.node).is_some_and(cluster::node::Node::is_going));
        assert!(surge <= going.count(), "a surge of {surge} is more than there is on nodes that go");
        for action in &step.plan.actions {
            assert!(!action.reason.trim().is_empty(), "an action without a reason: {action:?}");
            if matches!(action.kind, ActionKind::Start { .. }) {
                let state = step.after.nodes[&action.node].state(&step.after.settings, step.now);
                assert_eq!(state, NodeState::Ready, "a new replica on a node that is {state}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_more_than_desired_plus_surge_and_no_new_replica_on_a_node_that_is_lost_or_draining(
        nodes in 1usize..5, faults in prop::collection::vec(fault(), 1..40)
    ) {
        let mut world = World::new(nodes);
        for fault in &faults {
            inject(&mut world, fault);
            world.run_checked(1, check);
        }
    }

    #[test]
    fn converges_in_a_bounded_number_of_steps_once_faults_stop(
        nodes in 1usize..5, count in 0u32..12, faults in prop::collection::vec(fault(), 0..40)
    ) {
        let mut world = World::new(nodes);
        for fault in &faults {
            inject(&mut world, fault);
            world.run(1);
        }
        for nth in 0..nodes {
            world.set_reachable(nth, true);
            world.restart_if_dead(nth);
            world.add_back(nth);
        }
        world.scale(count);
        // lost_after, twice, then drain and stop: 600 steps of 50 ms.
        world.run(600);
        let status = world.controller.status(world.now);
        prop_assert_eq!(status.apps[0].ready, count, "{:#?}", status);
        prop_assert_eq!(status.replicas.len(), count as usize, "{:#?}", status);
        prop_assert_eq!(world.processes(), count as usize, "what the agents run");
        // Nothing goes on happening.
        world.run_checked(100, |world| {
            for step in &world.last {
                assert!(step.plan.actions.is_empty(), "restless: {:?}", step.plan.actions);
            }
        });
    }

    #[test]
    fn the_same_input_gives_the_same_plan(nodes in 1usize..5, faults in prop::collection::vec(fault(), 1..30)) {
        let mut world = World::new(nodes);
        for fault in &faults {
            inject(&mut world, fault);
            world.run(1);
            let (mut one, mut other) = (world.ids.clone(), world.ids.clone());
            prop_assert_eq!(plan(&world.controller, world.now, &mut one), plan(&world.controller, world.now, &mut other));
            prop_assert_eq!(one.next_id(), other.next_id());
        }
    }

    #[test]
    fn an_older_or_foreign_assignment_never_wins(nodes in 1usize..4, faults in prop::collection::vec(fault(), 1..40)) {
        let mut world = World::new(nodes);
        for fault in &faults {
            inject(&mut world, fault);
            world.run(1);
        }
        for agent in &world.agents {
            prop_assert!(agent.history.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", agent.history);
        }
    }

    #[test]
    fn a_controller_that_was_cut_off_from_everyone_restarts_nobody(nodes in 1usize..5, count in 1u32..12, dark in 1u32..400, apart in 0u32..40) {
        let mut world = World::new(nodes);
        world.scale(count);
        world.run(40);
        let before = world.process_ids();
        prop_assert_eq!(before.len(), count as usize);
        for nth in 0..nodes {
            world.set_reachable(nth, false);
            world.run(apart % 10);
        }
        world.run(dark);
        for nth in 0..nodes {
            world.set_reachable(nth, true);
            world.run(apart / 4);
        }
        world.run(100);
        prop_assert_eq!(before, world.process_ids());
    }

    #[test]
    fn a_controller_that_was_asleep_or_started_anew_restarts_nobody(nodes in 1usize..5, count in 1u32..12, asleep_ms in 1_000u64..100_000) {
        let mut world = World::new(nodes);
        world.scale(count);
        world.run(40);
        let before = world.process_ids();
        world.freeze_controller(asleep_ms);
        world.run(100);
        prop_assert_eq!(&before, &world.process_ids());
        world.restart_controller();
        world.run(100);
        prop_assert_eq!(&before, &world.process_ids());
        let status = world.controller.status(world.now);
        prop_assert_eq!(status.apps[0].ready, count);
    }
}

#[test]
fn replicas_are_spread_and_a_lost_node_is_replaced_after_lost_after() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(20);
    let on = |world: &World, nth: usize| world.controller.status(world.now).nodes[nth].replicas;
    assert_eq!((on(&world, 0), on(&world, 1)), (2, 2));
    world.set_reachable(1, false);
    world.run(58);
    assert_eq!(on(&world, 0), 2, "not before lost_after");
    world.run(10);
    assert_eq!(on(&world, 0), 4);
    world.set_reachable(1, true);
    world.run(40);
    assert_eq!(world.processes(), 4, "what came back and is not wanted is stopped");
}

#[test]
fn a_killed_agent_is_replaced_within_a_second_and_a_leaving_one_before_it_stops_anything() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(20);
    world.kill(1);
    world.run(20);
    assert_eq!(world.controller.status(world.now).apps[0].ready, 4);
    world.restart(1);
    world.run(20);
    world.scale(6);
    world.run(20);
    assert_eq!(world.controller.status(world.now).nodes[1].replicas, 2, "a node that came back is used again");
    world.goodbye(0);
    world.run_checked(60, |world| {
        let ready = world.controller.table.routes().count();
        assert!(ready >= 6, "only {ready} of 6 routes while a node leaves");
    });
    let status = world.controller.status(world.now);
    assert_eq!(status.nodes[0].state, NodeState::Left);
    assert_eq!((status.nodes[1].replicas, status.apps[0].ready), (6, 6));
}

#[test]
fn with_nowhere_to_go_a_leaving_node_is_drained_at_once() {
    let mut world = World::new(1);
    world.scale(2);
    world.run(20);
    world.goodbye(0);
    world.run(20);
    assert_eq!(world.processes(), 0);
    let status = world.controller.status(world.now);
    assert_eq!(status.nodes[0].state, NodeState::Left);
    assert!(status.apps[0].waiting[0].contains("no node is ready"), "{:?}", status.apps[0].waiting);
}

#[test]
fn an_emptied_store_stops_nothing_and_take_over_replaces() {
    let mut world = World::new(1);
    world.scale(3);
    world.run(20);
    let before = world.process_ids();
    world.empty_store();
    world.add_back(0);
    world.scale(2);
    world.run(100);
    assert_eq!(world.process_ids(), before);
    let status = world.controller.status(world.now);
    assert_eq!(status.nodes[0].state, NodeState::Foreign);
    assert!(status.nodes[0].detail.contains("take_over"));
    world.take_over(0);
    world.run(100);
    assert_eq!(world.processes(), 2);
    assert!(world.process_ids().is_disjoint(&before));
}

#[test]
fn a_node_that_is_taken_over_with_nothing_to_run_is_emptied() {
    let mut world = World::new(1);
    world.scale(3);
    world.run(20);
    world.empty_store();
    world.add_back(0);
    world.run(20);
    world.take_over(0);
    world.run(100);
    assert_eq!(world.processes(), 0);
}

#[test]
fn a_node_is_taken_over_once_for_each_time_that_it_was_asked_for() {
    let mut world = World::new(1);
    world.take_over(0);
    world.scale(2);
    world.run(20);
    assert_eq!(world.controller.status(world.now).apps[0].ready, 2);
    world.be_robbed(0);
    world.run(100);
    assert_eq!(world.controller.status(world.now).nodes[0].state, NodeState::Foreign);
    assert_eq!(world.agents[0].held.cluster, Some(cluster::ClusterId(999)));
    world.take_over(0);
    world.run(100);
    assert_eq!(world.controller.status(world.now).apps[0].ready, 2);
}

#[test]
fn two_urls_of_one_agent_are_one_node() {
    let mut world = World::new(1);
    world.add_alias(0);
    world.scale(3);
    world.run(40);
    let status = world.controller.status(world.now);
    assert_eq!(status.nodes[1].state, NodeState::Duplicate);
    assert_eq!((status.nodes[0].replicas, status.nodes[1].replicas), (3, 0));
}

#[test]
fn a_replica_that_keeps_failing_on_one_node_is_tried_on_another_once() {
    let mut world = World::new(2);
    world.agents[1].broken = true;
    world.scale(2);
    world.run(400);
    let status = world.controller.status(world.now);
    assert_eq!((status.apps[0].ready, status.nodes[0].replicas), (2, 2), "{status:#?}");
}

#[test]
fn where_nothing_runs_the_reason_is_shown() {
    let mut world = World::new(1);
    world.agents[0].broken = true;
    world.scale(1);
    world.run(40);
    let waiting = world.controller.status(world.now).apps[0].waiting.clone();
    assert!(waiting[0].contains("boom"), "{waiting:?}");
}

#[test]
fn a_controller_whose_epoch_was_overtaken_writes_nothing_until_it_is_raised() {
    let mut world = World::new(1);
    world.scale(1);
    world.run(20);
    world.controller.epoch = 1;
    world.agents[0].held.stamp.as_mut().unwrap().epoch = 7;
    world.run(40);
    assert_eq!(world.controller.epoch, 8);
    assert_eq!(world.controller.status(world.now).apps[0].ready, 1);
}

#[test]
fn a_member_that_is_gone_from_the_store_is_gone_from_the_state() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(20);
    world.remove(1);
    world.run(100);
    let status = world.controller.status(world.now);
    assert_eq!(status.nodes.len(), 1);
    assert_eq!((status.nodes[0].replicas, world.processes()), (4, 4));
}

#[test]
fn before_the_desired_state_is_known_nothing_is_decided() {
    let mut world = World::new(1);
    let mut state = cluster::ClusterState::new(world.controller.cluster, 1, world.controller.settings, Now::default());
    state.observe(Event::Tick, Now::default());
    assert_eq!(state.decide(Now::default(), &mut world.ids), cluster::Effects::default());
}

#[test]
fn a_replica_that_its_agent_ends_by_an_order_that_was_overtaken_is_replaced() {
    let mut world = World::new(1);
    world.scale(2);
    world.run(20);
    let before = world.process_ids();
    world.agents[0].obey_overtaken_order();
    world.run(40);
    assert_eq!(world.controller.status(world.now).apps[0].ready, 2);
    assert_eq!(world.process_ids().intersection(&before).count(), 1);
}

#[test]
fn a_node_that_refused_an_assignment_is_asked_again_and_used_again() {
    let mut world = World::new(2);
    world.scale(2);
    world.run(20);
    let refuse = |world: &mut World| {
        let node = cluster::NodeId(2);
        let stamp = world.controller.nodes[&node].sent.as_ref().unwrap().assignment.stamp;
        world.controller.observe(Event::PutFailed { node, stamp, error: "it is busy".to_owned() }, world.now);
        assert!(world.controller.nodes[&node].refusal.is_some());
    };
    refuse(&mut world);
    world.run(30);
    world.scale(4);
    world.run(30);
    assert_eq!(world.controller.status(world.now).nodes[1].replicas, 2);
    world.scale(0);
    world.run(30);
    refuse(&mut world);
    world.restart(1);
    world.run(30);
    world.scale(4);
    world.run(30);
    assert_eq!(world.controller.status(world.now).nodes[1].replicas, 2);
}

#[test]
fn a_scale_down_takes_from_the_fullest_node_unready_first_newest_first() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(20);
    let order: Vec<_> = world.controller.slots.iter().map(|(id, slot)| (*id, slot.node)).collect();
    // One on node 1 is not ready: with equal nodes it goes first, then the newest of the fuller node, and so on.
    let (unready, on) = order[0];
    world.controller.nodes.get_mut(&on).unwrap().observed.get_mut(&unready).unwrap().report.ready = false;
    world.scale(1);
    let drained: Vec<_> = plan(&world.controller, world.now, &mut world.ids)
        .actions
        .iter()
        .filter(|action| action.kind == ActionKind::Drain)
        .map(|action| action.replica)
        .collect();
    let other: Vec<_> = order.iter().filter(|(_, node)| *node != on).map(|(id, _)| *id).collect();
    let same: Vec<_> = order.iter().filter(|(id, node)| *node == on && *id != unready).map(|(id, _)| *id).collect();
    assert_eq!(drained[..2], [unready, other[1]]);
    assert_eq!(drained[2], same[0].max(other[0]));
}

#[test]
fn ten_thousand_replicas_are_planned_at_once() {
    let mut world = World::new(4);
    for count in [10_000, 1] {
        world.scale(count);
        world.run(6);
        assert_eq!(world.controller.status(world.now).apps[0].ready, count);
    }
}
