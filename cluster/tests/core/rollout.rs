//! A changed spec takes the place of what runs, one replica after another; and an app that is deleted goes in order.

use std::collections::BTreeSet;

use cluster::ReplicaId;
use cluster::wire::AssignedPhase;
use proptest::prelude::*;

use crate::agent::NEVER_READY;
use crate::world::World;

/// Replicas that are to run.
fn running(world: &World) -> usize {
    world.controller.slots.values().filter(|slot| slot.phase == AssignedPhase::Run).count()
}

fn routed(world: &World) -> usize {
    world.controller.table.routes().count()
}

fn replicas(world: &World) -> BTreeSet<ReplicaId> {
    world.process_ids().into_iter().map(|(id, _)| id).collect()
}

fn revisions(world: &World) -> BTreeSet<u64> {
    world.controller.status(world.now).replicas.iter().map(|replica| replica.revision).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_fewer_ready_than_desired_and_never_more_than_one_beyond_while_a_revision_takes_anothers_place(
        nodes in 1usize..5, count in 1u32..12, changes in prop::collection::vec(0u32..60, 1..4)
    ) {
        let mut world = World::new(nodes);
        world.scale(count);
        world.run(40);
        let before = replicas(&world);
        let check = |world: &World| {
            assert!(routed(world) >= count as usize, "{} of {count} get requests", routed(world));
            assert!(running(world) <= count as usize + 1, "{} of {count} are to run", running(world));
        };
        for (nth, apart) in changes.iter().enumerate() {
            world.change_program(&format!("program-{nth}"));
            world.run_checked(*apart, check);
        }
        world.run_checked(400, check);
        prop_assert_eq!(world.processes(), count as usize);
        prop_assert_eq!(revisions(&world), BTreeSet::from([changes.len() as u64 + 1]));
        prop_assert!(replicas(&world).is_disjoint(&before));
    }

    #[test]
    fn a_revision_that_never_becomes_ready_leaves_what_runs_as_it_is_and_the_next_one_takes_over(
        nodes in 1usize..5, count in 1u32..12, scaled in 1u32..12
    ) {
        let mut world = World::new(nodes);
        world.scale(count);
        world.run(40);
        let before = replicas(&world);
        world.change_program(NEVER_READY);
        world.run(200);
        prop_assert!(before.is_subset(&replicas(&world)));
        prop_assert_eq!((routed(&world), running(&world)), (count as usize, count as usize + 1));
        world.scale(scaled);
        world.run(400);
        prop_assert_eq!(routed(&world), count.min(scaled) as usize);
        prop_assert!(running(&world) <= scaled as usize + 1);
        world.change_program("better");
        world.run(600);
        prop_assert_eq!((routed(&world), world.processes()), (scaled as usize, scaled as usize));
        prop_assert_eq!(revisions(&world), BTreeSet::from([3]));
    }

    #[test]
    fn a_new_controller_goes_on_with_a_rollout(nodes in 1usize..4, count in 1u32..8, after in 0u32..30) {
        let mut world = World::new(nodes);
        world.scale(count);
        world.run(40);
        world.change_program("other");
        world.run(after);
        world.restart_controller();
        world.run(600);
        prop_assert_eq!((routed(&world), world.processes()), (count as usize, count as usize));
        prop_assert_eq!(revisions(&world), BTreeSet::from([2]));
    }
}

#[test]
fn a_change_of_count_restarts_nothing() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(40);
    let before = replicas(&world);
    world.scale(5);
    world.run(40);
    assert!(before.is_subset(&replicas(&world)));
}

#[test]
fn a_rollout_says_how_far_it_is() {
    let mut world = World::new(1);
    world.scale(2);
    world.run(40);
    world.change_program(NEVER_READY);
    world.run(20);
    let waiting = &world.controller.status(world.now).apps[0].waiting;
    assert!(waiting[0].contains("revision 2 takes the place of revision 1") && waiting[0].contains("0 of 2 are ready"), "{waiting:?}");
}

#[test]
fn an_app_that_is_deleted_drains_and_stops_and_is_forgotten_then() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(40);
    let busy = world.controller.table.routes().next().unwrap().1.key;
    world.in_flight.insert(busy, 1);
    world.delete_app();
    world.run(60);
    assert_eq!(replicas(&world), BTreeSet::from([busy.replica]), "what has a request under way waits for it");
    assert!(world.controller.status(world.now).apps[0].deleted);
    world.in_flight.clear();
    world.run(40);
    assert_eq!(world.processes(), 0);
    assert!(world.controller.status(world.now).apps.is_empty());
}

#[test]
fn an_app_is_kept_in_mind_until_a_node_that_is_lost_has_said_that_it_runs_nothing_of_it() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(40);
    world.set_reachable(1, false);
    world.run(100);
    world.delete_app();
    world.run(100);
    assert_eq!(world.controller.status(world.now).apps.len(), 1);
    world.set_reachable(1, true);
    world.run_checked(100, |world| assert_eq!(routed(world), 0, "what came back gets no requests"));
    assert_eq!(world.processes(), 0);
    assert!(world.controller.status(world.now).apps.is_empty());
}
