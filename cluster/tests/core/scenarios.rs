//! The control loop in situations that have names, in the same pretended world.

use cluster::node::NodeState;
use cluster::plan::{ActionKind, plan};
use cluster::{Event, NodeId, Now};

use crate::world::World;

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
fn what_came_back_and_is_not_wanted_finishes_the_requests_that_it_has() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(20);
    let busy = world.controller.table.routes().find(|(_, route)| route.node == NodeId(2)).unwrap().1.key;
    world.set_reachable(1, false);
    world.run(68);
    world.in_flight.insert(busy, 1);
    world.set_reachable(1, true);
    world.run(40);
    assert!(world.process_ids().contains(&(busy.replica, busy.attempt)), "it was stopped with a request under way");
    assert_eq!(world.processes(), 5, "the other one was stopped");
    world.in_flight.clear();
    world.run(20);
    assert_eq!(world.processes(), 4);
}

#[test]
fn a_stop_waits_for_the_requests_of_an_agents_balancer_and_not_for_those_of_a_lost_one() {
    let mut world = World::new(2);
    world.use_each_other();
    world.scale(4);
    world.run(20);
    let busy = world.controller.table.routes().find(|(_, route)| route.node == NodeId(1)).unwrap().1.key;
    // Both nodes keep one; the one that goes has a request of the other node's balancer under way.
    world.scale(2);
    world.run(1);
    let going: Vec<_> = world.controller.slots.iter().filter(|(_, slot)| slot.node == NodeId(1) && slot.drain_at_ms.is_some()).collect();
    let going = cluster::route::RouteKey { replica: *going[0].0, ..busy };
    world.agents[1].set_in_flight([(going, 1)].into());
    world.run(60);
    assert!(world.process_ids().contains(&(going.replica, going.attempt)), "it was stopped with a request under way");
    world.kill(1);
    world.run(20);
    assert!(!world.process_ids().contains(&(going.replica, going.attempt)), "a dead agent was waited for");
}

#[test]
fn an_agent_that_runs_nothing_which_uses_an_app_hears_of_no_endpoints() {
    let mut world = World::new(2);
    world.scale(4);
    world.run(40);
    assert!(world.agents.iter().all(|agent| agent.balancer.endpoints.is_none()));
    world.use_each_other();
    world.run(20);
    assert!(world.agents.iter().all(|agent| agent.balancer.endpoints.is_some()));
    // Where the last user went, nothing is to be called any more.
    world.scale(1);
    world.run(40);
    let idle = world.agents.iter().find(|agent| agent.replicas.is_empty()).unwrap();
    assert!(idle.balancer.endpoints.as_ref().unwrap().apps.is_empty());
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
    let mut state = cluster::ClusterState::new(world.controller.cluster, 1, world.controller.settings.clone(), Now::default());
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

#[test]
fn a_controller_that_is_overtaken_twice_stands_down_and_says_so() {
    let mut world = World::new(1);
    world.scale(1);
    world.run(20);
    let before = world.process_ids();
    for epoch in [7, 20] {
        world.agents[0].held.stamp.as_mut().unwrap().epoch = epoch;
        world.run(40);
    }
    assert!(world.controller.stands_down());
    assert!(world.controller.status(world.now).apps[0].waiting[0].contains("another controller"), "also with nothing to start");
    world.scale(3);
    world.run(40);
    assert_eq!(world.process_ids(), before);
    let waiting = &world.controller.status(world.now).apps[0].waiting;
    assert!(waiting[0].contains("another controller"), "{waiting:?}");
}

#[test]
fn a_process_that_never_listens_is_told_of() {
    let mut world = World::new(1);
    world.agents[0].deaf = true;
    world.scale(1);
    world.run(60);
    assert!(world.controller.status(world.now).apps[0].waiting.is_empty());
    world.run(60);
    let status = world.controller.status(world.now);
    assert!(status.apps[0].waiting[0].contains("accepts no connections"), "{status:?}");
    assert!(status.replicas[0].detail.contains("accepts no connections"), "{status:?}");
}

#[test]
fn a_failure_is_told_once() {
    let mut world = World::new(1);
    world.scale(1);
    world.run(20);
    let node = cluster::NodeId(1);
    let report = |world: &World| world.controller.nodes[&node].observed.values().next().unwrap().report.clone();
    let mut told = 0;
    let mut say = |world: &mut World, change: &dyn Fn(&mut cluster::wire::ReplicaReport)| {
        let mut next = report(world);
        change(&mut next);
        let instance = world.agents[0].instance;
        let held = world.agents[0].held;
        let news = cluster::wire::News::Replica(next);
        let line = cluster::wire::ObserveLine { instance, seq: 1, applied: held.stamp, cluster: held.cluster, usage: None, news };
        world.controller.observe(Event::Line { node, line }, world.now);
        let story = world.controller.decide(world.now, &mut world.ids).story;
        told += story.iter().filter(|line| line.text.contains("failed")).count();
        told
    };
    let crashed = |report: &mut cluster::wire::ReplicaReport| {
        report.phase = cluster::wire::ObservedPhase::Backoff;
        report.failures = 1;
    };
    assert_eq!(say(&mut world, &crashed), 1);
    assert_eq!(say(&mut world, &|report| (report.attempt, report.phase) = (2, cluster::wire::ObservedPhase::Starting)), 1);
    assert_eq!(say(&mut world, &|report| (report.phase, report.failures) = (cluster::wire::ObservedPhase::Running, 0)), 1);
    assert_eq!(say(&mut world, &|report| (report.phase, report.failures) = (cluster::wire::ObservedPhase::Stopping, 1)), 1);
}

#[test]
fn a_removed_node_whose_alias_kept_it_is_forgotten() {
    let mut world = World::new(1);
    world.add_alias(0);
    world.scale(2);
    world.run(40);
    world.scale(0);
    world.run(40);
    world.remove(0);
    world.run(100);
    world.remove_alias();
    world.run(100);
    assert!(world.controller.status(world.now).nodes.is_empty(), "{:?}", world.controller.status(world.now).nodes);
}

#[test]
fn absurd_figures_of_an_agent_are_shown_and_overflow_nothing() {
    let mut world = World::new(1);
    world.scale(1);
    world.run(20);
    let node = cluster::NodeId(1);
    let mut report = world.controller.nodes[&node].observed.values().next().unwrap().report.clone();
    report.age_ms = u64::MAX;
    let stamp = cluster::wire::Stamp { epoch: world.controller.epoch, generation: u64::MAX };
    let (instance, cluster) = (world.agents[0].instance, world.agents[0].held.cluster);
    let news = cluster::wire::News::Replica(report);
    let line = cluster::wire::ObserveLine { instance, seq: 1, applied: Some(stamp), cluster, usage: None, news };
    world.controller.observe(Event::Line { node, line }, world.now);
    world.scale(2);
    world.controller.decide(world.now, &mut world.ids);
    assert!(world.controller.status(world.now.plus_ms(1_000)).replicas[0].uptime_seconds > 1e15);
}

#[test]
fn usage_is_shown_and_changes_nothing_that_was_decided() {
    use cluster::usage::{HostUsage, ReplicaUsage, Usage, Uses};
    let mut world = World::new(1);
    world.scale(2);
    world.run(20);
    let node = NodeId(1);
    let seen = world.controller.nodes[&node].observed.values().next().unwrap().report.clone();
    let uses = Uses { cpu_ms: u64::MAX, cpu_milli: u64::MAX, memory_bytes: u64::MAX, ..Uses::default() };
    let host = HostUsage { uptime_ms: u64::MAX, ..HostUsage::default() };
    let usage = Usage { host: Some(host), replicas: vec![ReplicaUsage { id: seen.id, attempt: seen.attempt, uses }] };
    let held = world.agents[0].held;
    let news = cluster::wire::News::Heartbeat(cluster::wire::Heartbeat {});
    let instance = world.agents[0].instance;
    let line = cluster::wire::ObserveLine { instance, seq: 1, applied: held.stamp, cluster: held.cluster, usage: Some(usage), news };
    world.controller.observe(Event::Line { node, line }, world.now);
    let effects = world.controller.decide(world.now, &mut world.ids);
    assert!(effects.routes.is_none() && effects.assignments.is_empty() && effects.plan.actions.is_empty(), "{effects:?}");
    let status = world.controller.status(world.now.plus_ms(1_000));
    let of = |id| status.replicas.iter().find(|replica| replica.id == id).unwrap();
    assert_eq!(of(seen.id).usage, Some(uses));
    assert_eq!(status.replicas.iter().filter(|replica| replica.usage.is_some()).count(), 1);
    assert_eq!(status.nodes[0].usage, Some(host));
}
