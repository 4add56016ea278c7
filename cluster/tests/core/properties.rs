//! Safety and liveness of the control loop, as sentences, over random clusters with faults.
//!
//! A world of pretended agents obeys assignments through the same fence as the real one; everything runs from one list of
//! random faults, so a failure replays.

use std::collections::BTreeSet;

use cluster::IdSource;
use cluster::node::NodeState;
use cluster::plan::{ActionKind, plan};
use cluster::route::RouteKey;
use cluster::wire::AssignedPhase;
use proptest::prelude::*;

use crate::world::World;

/// What can happen to a cluster.
#[derive(Clone, Debug)]
enum Fault {
    Scale(u32),
    ChangeProgram(u8),
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
        2 => (0u8..3).prop_map(Fault::ChangeProgram),
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
        Fault::ChangeProgram(program) => world.change_program(&format!("program-{program}")),
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
        // Those that drain as well: the last of them is let go by the plan that still counts with it.
        let is_rolled_out = step.after.slots.values().any(|slot| slot.revision != step.after.apps[&slot.app].revision);
        let most = going.count() + usize::from(is_rolled_out);
        assert!(surge <= most, "a surge of {surge} is more than there is on nodes that go, and one for a rollout");
        for action in &step.plan.actions {
            assert!(!action.reason.trim().is_empty(), "an action without a reason: {action:?}");
            if matches!(action.kind, ActionKind::Start { .. }) {
                let state = step.after.nodes[&action.node].state(&step.after.settings, step.now);
                assert_eq!(state, NodeState::Ready, "a new replica on a node that is {state}");
            }
        }
        for (id, slot) in &step.after.slots {
            let told = world.agents.iter().find_map(|agent| agent.specs.get(id));
            assert!(
                told.is_none_or(|spec| spec == step.after.apps[&slot.app].spec_of(slot.revision)),
                "{id} is run as another revision is"
            );
        }
    }
}

/// Checks whom an ordered stop waits for, and for how long.
fn check_stops(world: &World) {
    for step in &world.last {
        for action in
            step.plan.actions.iter().filter(|action| action.kind == ActionKind::Stop && action.reason.contains("no requests left"))
        {
            for (nth, agent) in world.agents.iter().enumerate() {
                let is_live = step.after.nodes.values().any(|node| {
                    !node.is_gone() && node.is_ours() && node.facts.as_ref().is_some_and(|facts| facts.instance == agent.instance)
                });
                let known =
                    agent.balancer.endpoints.iter().filter(|_| is_live && agent.alive).flat_map(|endpoints| endpoints.apps.values());
                let knows_it = known.flat_map(|app| &app.replicas).any(|route| route.key.replica == action.replica);
                assert!(!knows_it, "{} is stopped, and the balancer of agent {nth} may send it requests", action.replica);
            }
        }
        for (id, slot) in step.after.slots.iter().filter(|(_, slot)| slot.phase == AssignedPhase::Drain) {
            let drained_ms = slot.drain_at_ms.map_or(0, |at| step.now.since_ms(at));
            assert!(drained_ms < 10_000, "{id} has drained for {drained_ms} ms, longer than it may");
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
    fn no_replica_is_stopped_for_want_of_requests_while_a_live_balancer_knows_it_and_no_drain_outlasts_its_deadline(
        nodes in 1usize..5, faults in prop::collection::vec(fault(), 1..40)
    ) {
        let mut world = World::new(nodes);
        world.use_each_other();
        world.run(20);
        for fault in &faults {
            inject(&mut world, fault);
            world.run_checked(1, check_stops);
        }
        world.run_checked(250, check_stops);
    }

    #[test]
    fn every_balancer_that_is_heard_works_by_the_table_once_faults_stop(
        nodes in 1usize..5, count in 1u32..12, faults in prop::collection::vec(fault(), 0..30)
    ) {
        let mut world = World::new(nodes);
        world.use_each_other();
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
        world.run(600);
        let table: BTreeSet<RouteKey> = world.controller.table.routes().map(|(_, route)| route.key).collect();
        prop_assert_eq!(table.len(), count as usize);
        for agent in world.agents.iter().filter(|agent| !agent.replicas.is_empty()) {
            let known = agent.balancer.endpoints.iter().flat_map(|endpoints| endpoints.apps.values()).flat_map(|app| &app.replicas);
            prop_assert_eq!(&known.map(|route| route.key).collect::<BTreeSet<_>>(), &table);
        }
        // Nothing is said again without need.
        let before: Vec<_> = world.controller.nodes.values().map(|node| node.endpoints_generation).collect();
        world.run(100);
        prop_assert_eq!(before, world.controller.nodes.values().map(|node| node.endpoints_generation).collect::<Vec<_>>());
    }

    #[test]
    fn converges_in_a_bounded_number_of_steps_once_faults_stop(
        nodes in 1usize..5, count in 0u32..12, faults in prop::collection::vec(fault(), 0..40), uses in any::<bool>()
    ) {
        let mut world = World::new(nodes);
        if uses {
            world.use_each_other();
        }
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
