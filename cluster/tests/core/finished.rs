//! Replicas that have finished, and replicas that are not ready for a while.

use cluster::ReplicaId;
use cluster::wire::{News, ObservedPhase, ReplicaReport};

use crate::world::World;

impl World {
    /// A worker ends, and its policy wants no other.
    fn finish_worker(&mut self, nth: usize) -> ReplicaId {
        self.change_worker(nth, |report| {
            report.phase = ObservedPhase::Stopped;
            report.finished = true;
            report.ready = false;
            report.pid = None;
            report.port = None;
            report.detail = "its process exited with code 0".to_owned();
        })
    }

    /// A check of a worker says that it gets no requests, or gets them again.
    fn set_ready(&mut self, nth: usize, ready: bool) -> ReplicaId {
        self.change_worker(nth, |report| report.ready = ready)
    }

    fn change_worker(&mut self, nth: usize, change: impl FnOnce(&mut ReplicaReport)) -> ReplicaId {
        let agent = &mut self.agents[nth];
        let report = agent.replicas.values_mut().map(|(report, _)| report).find(|report| !report.finished).unwrap();
        change(report);
        let report = report.clone();
        let id = report.id;
        agent.outbox.push(News::Replica(report));
        id
    }

    /// The app gets another spec.
    fn change_app(&mut self) {
        self.apps[0].revision += 1;
        self.desire();
    }
}

fn settled(nodes: usize, count: u32) -> World {
    let mut world = World::new(nodes);
    world.scale(count);
    world.run(20);
    world
}

fn state_of(world: &World, id: ReplicaId) -> Option<ObservedPhase> {
    world.controller.status(world.now).replicas.into_iter().find(|replica| replica.id == id).map(|replica| replica.state)
}

fn listed(world: &World) -> usize {
    world.controller.status(world.now).replicas.len()
}

#[test]
fn a_finished_replica_stays_listed_and_counts_and_nothing_is_started_in_its_place() {
    let mut world = settled(2, 4);
    let id = world.finish_worker(0);
    world.run(200);
    assert_eq!((state_of(&world, id), listed(&world)), (Some(ObservedPhase::Stopped), 4));
    let status = world.controller.status(world.now);
    assert_eq!((status.apps[0].running, status.apps[0].ready), (3, 3));
    let told = format!("{id} on ");
    let waiting = &status.apps[0].waiting;
    assert!(
        waiting.iter().any(|why| why.starts_with(&told) && why.ends_with(" has finished: its process exited with code 0")),
        "{waiting:?}"
    );
    assert_eq!(world.controller.table.routes().count(), 3);
}

#[test]
fn scaling_down_takes_a_finished_replica_first_and_scaling_up_starts_only_what_is_more() {
    let mut world = settled(1, 4);
    let id = world.finish_worker(0);
    world.run(20);
    world.scale(6);
    world.run(40);
    assert_eq!((state_of(&world, id), listed(&world)), (Some(ObservedPhase::Stopped), 6));
    world.scale(5);
    world.run(40);
    let status = world.controller.status(world.now);
    assert_eq!((state_of(&world, id), status.apps[0].ready, listed(&world)), (None, 5, 5));
}

#[test]
fn a_new_revision_replaces_what_has_finished() {
    let mut world = settled(1, 2);
    let id = world.finish_worker(0);
    world.run(20);
    world.change_app();
    world.run(40);
    let status = world.controller.status(world.now);
    assert_eq!((state_of(&world, id), status.apps[0].ready, listed(&world)), (None, 2, 2));
}

#[test]
fn a_controller_that_was_restarted_adopts_what_has_finished() {
    let mut world = settled(2, 4);
    let id = world.finish_worker(1);
    world.run(20);
    world.restart_controller();
    world.run(100);
    assert_eq!((state_of(&world, id), listed(&world), world.controller.table.routes().count()), (Some(ObservedPhase::Stopped), 4, 3));
}

#[test]
fn what_has_finished_is_forgotten_with_its_node() {
    let mut world = settled(2, 4);
    let id = world.finish_worker(1);
    world.run(20);
    world.kill(1);
    world.run(100);
    let status = world.controller.status(world.now);
    assert_eq!((state_of(&world, id), status.apps[0].ready), (None, 4));
}

#[test]
fn a_replica_that_is_not_ready_leaves_the_table_and_comes_back_as_the_same() {
    let mut world = settled(2, 4);
    let id = world.set_ready(0, false);
    world.run(100);
    assert!(world.controller.table.routes().all(|(_, route)| route.key.replica != id));
    assert_eq!((state_of(&world, id), listed(&world)), (Some(ObservedPhase::Running), 4));
    let status = world.controller.status(world.now);
    assert_eq!((status.apps[0].running, status.apps[0].ready), (4, 3));
    world.set_ready(0, true);
    world.run(20);
    assert!(world.controller.table.routes().any(|(_, route)| route.key.replica == id && route.key.attempt == 1));
}
