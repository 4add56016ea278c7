//! An agent of the pretended world: it obeys assignments through the fence of the real one, and its replicas do as their programs are.

use std::collections::BTreeMap;

use cluster::AppSpec;
use cluster::endpoints::Endpoints;
use cluster::fence::{Held, Refusal, Verdict, judge};
use cluster::id::Counting;
use cluster::route::RouteKey;
use cluster::wire::{AGENT_SERVICE, AssignedPhase, Assignment, News, NodeFacts, ObserveLine, ObservedPhase, ReplicaReport, Stamp};
use cluster::{ClusterId, Event, InstanceId, NodeId, ReplicaId};

use crate::balancer::Balancer;

/// What the pretended agents can do beyond the basics.
const ABILITIES: &[&str] = &[cluster::app::ABILITY_USES];
/// A program that never accepts a connection.
pub const NEVER_READY: &str = "never-ready";

/// A pretended agent.
pub struct Agent {
    pub instance: InstanceId,
    pub alive: bool,
    pub reachable: bool,
    pub leaving: bool,
    /// Its workers outlive it.
    pub keeps: bool,
    /// Its workers never accept a connection.
    pub deaf: bool,
    /// Its workers fail at once.
    pub broken: bool,
    pub held: Held,
    /// Stamps as they were applied, by this run of the agent.
    pub history: Vec<(InstanceId, Stamp)>,
    pub replicas: BTreeMap<ReplicaId, (ReplicaReport, AssignedPhase)>,
    /// What it was told to run for each replica, at first.
    pub specs: BTreeMap<ReplicaId, AppSpec>,
    pub balancer: Balancer,
    pub outbox: Vec<News>,
}

impl Agent {
    pub fn new(ids: &mut Counting) -> Self {
        Agent {
            instance: InstanceId(cluster::IdSource::next_id(ids)),
            alive: true,
            reachable: true,
            leaving: false,
            keeps: false,
            broken: false,
            deaf: false,
            held: Held::default(),
            history: vec![],
            replicas: BTreeMap::new(),
            specs: BTreeMap::new(),
            balancer: Balancer::default(),
            outbox: vec![],
        }
    }

    pub fn die(&mut self) {
        self.alive = false;
        self.leaving = false;
        self.balancer = Balancer::default();
        self.outbox.clear();
        self.history.clear();
        if !self.keeps {
            self.replicas.clear();
            self.held = Held::default();
        }
    }

    /// Drains one of its replicas, as a delayed assignment may have told it to.
    pub fn obey_overtaken_order(&mut self) {
        if let Some((_, phase)) = self.replicas.values_mut().next() {
            *phase = AssignedPhase::Drain;
        }
    }

    pub fn facts(&self, nth: usize) -> NodeFacts {
        NodeFacts {
            service: AGENT_SERVICE.to_owned(),
            name: format!("node-{nth}"),
            instance: self.instance,
            cluster: self.named_cluster(),
            keep_workers: self.keeps,
            os: "linux".to_owned(),
            cores: 2,
            memory_bytes: 0,
            labels: BTreeMap::new(),
            version: "0".to_owned(),
        }
    }

    fn named_cluster(&self) -> Option<ClusterId> {
        self.held.cluster.filter(|_| !self.replicas.is_empty())
    }

    pub fn reports(&self) -> Vec<ReplicaReport> {
        self.replicas.values().map(|(report, _)| report.clone()).collect()
    }

    pub fn line(&self, node: NodeId, seq: &mut u64, news: News) -> Event {
        *seq += 1;
        let line =
            ObserveLine { instance: self.instance, seq: *seq, applied: self.held.stamp, cluster: self.named_cluster(), usage: None, news };
        Event::Line { node, line }
    }

    pub fn put_endpoints(&mut self, incoming: Endpoints) {
        self.outbox.extend(self.balancer.put(incoming, self.held, !self.replicas.is_empty()).map(News::Routes));
    }

    /// Requests of its balancer begin or end on routes that left the table.
    pub fn set_in_flight(&mut self, in_flight: BTreeMap<RouteKey, u64>) {
        self.balancer.in_flight = in_flight;
        self.outbox.extend(self.balancer.acknowledged().map(News::Routes));
    }

    pub fn put(&mut self, assignment: &Assignment) -> Result<(), Refusal> {
        if judge(self.held, !self.replicas.is_empty(), ABILITIES, assignment)? == Verdict::Renew {
            return Ok(());
        }
        self.balancer.listen_to(assignment.cluster);
        self.held = Held { cluster: Some(assignment.cluster), stamp: Some(assignment.stamp) };
        self.history.push((self.instance, assignment.stamp));
        let wanted: BTreeMap<ReplicaId, AssignedPhase> = assignment.replicas.iter().map(|r| (r.id, r.phase)).collect();
        for (id, (_, phase)) in &mut self.replicas {
            *phase = wanted.get(id).copied().unwrap_or(AssignedPhase::Stop).max(*phase);
        }
        for replica in &assignment.replicas {
            if replica.phase == AssignedPhase::Run && !self.leaving && !self.replicas.contains_key(&replica.id) {
                let report = ReplicaReport {
                    id: replica.id,
                    app: replica.app.clone(),
                    revision: replica.revision,
                    attempt: 1,
                    phase: ObservedPhase::Starting,
                    ready: false,
                    pid: Some(1),
                    port: Some(1),
                    tree: None,
                    limits: Default::default(),
                    age_ms: 0,
                    restarts: 0,
                    log_dropped_bytes: 0,
                    failures: 0,
                    detail: String::new(),
                    finished: false,
                    checks: vec![],
                };
                self.outbox.push(News::Replica(report.clone()));
                self.specs.insert(replica.id, assignment.specs[&replica.spec_key()].clone());
                self.replicas.insert(replica.id, (report, replica.phase));
            }
        }
        Ok(())
    }

    pub fn step(&mut self) {
        if !self.alive {
            return;
        }
        for (report, wanted) in self.replicas.values_mut() {
            let before = report.clone();
            match (*wanted, report.phase) {
                (AssignedPhase::Run, ObservedPhase::Stopped) => {}
                (_, ObservedPhase::Stopped) => report.finished = false,
                (AssignedPhase::Run, ObservedPhase::Starting) if self.broken => {
                    report.attempt += 1;
                    report.failures += 1;
                    report.detail = "boom".to_owned();
                }
                (AssignedPhase::Run, ObservedPhase::Starting) if self.deaf || self.specs[&report.id].command == [NEVER_READY] => {}
                (AssignedPhase::Run, ObservedPhase::Starting) => {
                    report.phase = ObservedPhase::Running;
                    report.ready = true;
                }
                (AssignedPhase::Drain, ObservedPhase::Starting | ObservedPhase::Running) => {
                    report.phase = ObservedPhase::Draining;
                    report.ready = false;
                }
                (AssignedPhase::Stop, ObservedPhase::Stopping) => report.phase = ObservedPhase::Stopped,
                (AssignedPhase::Stop, _) => {
                    report.phase = ObservedPhase::Stopping;
                    report.ready = false;
                }
                _ => {}
            }
            if *report != before {
                self.outbox.push(News::Replica(report.clone()));
            }
        }
        self.replicas.retain(|_, (report, _)| report.phase != ObservedPhase::Stopped || report.finished);
        if self.leaving && self.replicas.is_empty() && self.outbox.is_empty() {
            self.die();
        }
    }
}
