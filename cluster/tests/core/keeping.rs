//! Agents whose replicas outlive them.

use cluster::node::NodeState;

use crate::world::World;

fn keeping() -> World {
    let mut world = World::new(2);
    world.agents.iter_mut().for_each(|agent| agent.keeps = true);
    // What an agent says of itself is heard when it is dialled.
    world.restart(0);
    world.restart(1);
    world.run(20);
    world.scale(4);
    world.run(20);
    world
}

#[test]
fn an_agent_that_is_back_with_its_replicas_keeps_them() {
    let mut world = keeping();
    let before = world.process_ids();
    world.kill(1);
    // Refused dials say nothing about its replicas.
    world.run(30);
    world.restart(1);
    world.run_checked(60, |world| assert_eq!(world.process_ids(), before));
    let status = world.controller.status(world.now);
    assert_eq!((status.nodes[1].replicas, status.apps[0].ready), (2, 4));
    world.restart(0);
    world.run_checked(60, |world| assert_eq!(world.process_ids(), before, "nobody saw that it was away"));
}

#[test]
fn what_an_agent_that_is_back_does_not_have_any_more_is_replaced_under_another_id() {
    let mut world = keeping();
    let before = world.process_ids();
    world.kill(1);
    let lost = world.agents[1].replicas.pop_first().map(|(id, _)| id).unwrap();
    world.restart(1);
    world.run(40);
    let after = world.process_ids();
    assert_eq!((after.len(), after.intersection(&before).count()), (4, 3));
    assert!(after.iter().all(|(id, _)| *id != lost));
    assert_eq!(world.controller.status(world.now).apps[0].ready, 4);
}

#[test]
fn replicas_of_a_lost_node_are_replaced_and_stop_when_it_is_back_with_them() {
    let mut world = keeping();
    let before = world.process_ids();
    world.kill(1);
    world.run(70);
    let status = world.controller.status(world.now);
    assert_eq!((status.nodes[1].state, status.nodes[0].replicas), (NodeState::Lost, 4));
    world.restart(1);
    world.run(60);
    let status = world.controller.status(world.now);
    assert_eq!((status.apps[0].ready, world.processes()), (4, 4));
    assert_eq!(status.nodes[1].state, NodeState::Ready);
    assert!(world.process_ids().intersection(&before).count() >= 2, "those of the other node were not touched");
}

#[test]
fn an_agent_that_is_started_without_keeping_has_ended_them_and_they_are_replaced() {
    let mut world = keeping();
    let before = world.process_ids();
    world.agents[1].keeps = false;
    world.restart(1);
    world.run(40);
    let after = world.process_ids();
    assert_eq!((after.len(), after.intersection(&before).count()), (4, 2));
}
