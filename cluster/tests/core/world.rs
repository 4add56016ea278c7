//! A pretended world around the control loop: agents that obey, a network that can be cut, a store that survives.

mod members;

use std::collections::{BTreeMap, BTreeSet};

use cluster::endpoints::Endpoints;
use cluster::fence::{Held, Refusal, Verdict, judge};
use cluster::id::Counting;
use cluster::liveness::redial_after_ms;
use cluster::plan::Plan;
use cluster::route::{RouteAck, RouteKey};
use cluster::wire::{
    AGENT_SERVICE, AssignedPhase, Assignment, Heartbeat, Leaving, News, NodeFacts, ObserveLine, ObservedPhase, ReplicaReport, Snapshot,
    Stamp,
};
use cluster::{App, ClusterId, ClusterState, InstanceId, NodeId, Now, ReplicaId, Settings};
use cluster::{Event, Member};

use crate::balancer::Balancer;

pub const STEP_MS: u64 = 50;
/// What the pretended agents can do beyond the basics.
const ABILITIES: &[&str] = &[cluster::app::ABILITY_USES];

/// One decision, for those who check it.
pub struct Step {
    pub after: ClusterState,
    pub plan: Plan,
    pub now: Now,
}

pub struct World {
    pub controller: ClusterState,
    pub now: Now,
    pub ids: Counting,
    pub agents: Vec<Agent>,
    pub last: Vec<Step>,
    links: BTreeMap<NodeId, Link>,
    epoch: u64,
    pub apps: Vec<App>,
    members: Vec<Member>,
    /// Requests that the gateway has under way on routes that left the table.
    pub in_flight: BTreeMap<RouteKey, u64>,
}

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
    pub balancer: Balancer,
    pub outbox: Vec<News>,
}

#[derive(Default)]
struct Link {
    agent: usize,
    connected: bool,
    heard_by: Option<InstanceId>,
    failures: u32,
    next_dial_ms: u64,
    heard_ms: u64,
    seq: u64,
    inbox: Option<Assignment>,
    endpoints: Option<Endpoints>,
}

impl World {
    pub fn new(nodes: usize) -> Self {
        let mut ids = Counting(1000);
        let members: Vec<Member> = (0..nodes)
            .map(|nth| Member::new(NodeId(nth as u128 + 1), format!("http://10.0.0.{}:9091", nth + 1).parse().unwrap()))
            .collect();
        let agents = (0..nodes).map(|_| Agent::new(&mut ids)).collect();
        let now = Now { mono_ms: 1_000_000, unix_ms: 0 };
        let controller = ClusterState::new(ClusterId(77), 1, Settings { tick_ms: STEP_MS, ..Settings::default() }, now);
        let mut world = World {
            controller,
            now,
            ids,
            agents,
            last: vec![],
            links: BTreeMap::new(),
            epoch: 1,
            apps: vec![App::builtin()],
            members,
            in_flight: BTreeMap::new(),
        };
        for nth in 0..nodes {
            world.links.insert(NodeId(nth as u128 + 1), Link { agent: nth, ..Link::default() });
        }
        world.desire();
        world.run(4);
        world
    }

    pub fn desire(&mut self) {
        let event = Event::Desired { apps: self.apps.clone(), members: self.members.clone() };
        self.controller.observe(event, self.now);
        self.links.retain(|id, _| self.members.iter().any(|member| member.id == *id));
    }

    pub fn desired(&self) -> u32 {
        self.apps[0].desired
    }

    pub fn scale(&mut self, count: u32) {
        self.apps[0].desired = count;
        self.desire();
    }

    /// The replicas of the app call each other.
    pub fn use_each_other(&mut self) {
        self.apps[0].spec.uses = vec![self.apps[0].name.clone()];
        self.desire();
    }

    fn agent(&mut self, nth: usize) -> Option<&mut Agent> {
        self.agents.get_mut(nth)
    }

    pub fn kill(&mut self, nth: usize) {
        if let Some(agent) = self.agent(nth) {
            agent.die();
        }
    }

    pub fn restart(&mut self, nth: usize) {
        let mut ids = self.ids.clone();
        if let Some(agent) = self.agent(nth) {
            agent.die();
            agent.instance = InstanceId(cluster::IdSource::next_id(&mut ids));
            agent.alive = true;
            agent.leaving = false;
            agent.history.clear();
        }
        self.ids = ids;
    }

    pub fn restart_if_dead(&mut self, nth: usize) {
        if self.agents[nth].leaving || !self.agents[nth].alive {
            self.restart(nth);
        }
    }

    pub fn set_reachable(&mut self, nth: usize, reachable: bool) {
        if let Some(agent) = self.agent(nth) {
            agent.reachable = reachable;
        }
    }

    pub fn goodbye(&mut self, nth: usize) {
        if let Some(agent) = self.agent(nth).filter(|agent| agent.alive && !agent.leaving) {
            agent.leaving = true;
            agent.outbox.push(News::Leaving(Leaving { within_ms: 25_000 }));
        }
    }

    pub fn crash_worker(&mut self, nth: usize) {
        if let Some(agent) = self.agent(nth)
            && let Some((report, AssignedPhase::Run)) = agent.replicas.values_mut().next()
        {
            report.attempt += 1;
            report.restarts += 1;
            report.phase = ObservedPhase::Starting;
            report.ready = false;
            let report = report.clone();
            agent.outbox.push(News::Replica(report));
        }
    }

    pub fn restart_controller(&mut self) {
        self.epoch += 1;
        self.controller = ClusterState::new(self.controller.cluster, self.epoch, self.controller.settings.clone(), self.now);
        for link in self.links.values_mut() {
            *link = Link { agent: link.agent, ..Link::default() };
        }
        self.desire();
    }

    /// Time passes, and the controller does not notice.
    pub fn freeze_controller(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    pub fn run(&mut self, steps: u32) {
        self.run_checked(steps, |_| {});
    }

    pub fn run_checked(&mut self, steps: u32, check: impl Fn(&World)) {
        for _ in 0..steps {
            self.step();
            check(self);
        }
    }

    pub fn process_ids(&self) -> BTreeSet<(ReplicaId, u32)> {
        self.agents.iter().filter(|agent| agent.alive).flat_map(|agent| agent.replicas.values()).map(|(r, _)| (r.id, r.attempt)).collect()
    }

    pub fn processes(&self) -> usize {
        self.process_ids().len()
    }

    fn step(&mut self) {
        self.last.clear();
        self.now = self.now.plus_ms(STEP_MS);
        for agent in &mut self.agents {
            agent.step();
        }
        let ids: Vec<NodeId> = self.links.keys().copied().collect();
        let mut said: BTreeMap<usize, Vec<News>> = BTreeMap::new();
        for id in ids {
            self.step_link(id, &mut said);
        }
        self.controller.observe(Event::Tick, self.now);
        let ack = RouteAck { version: self.controller.table.version, in_flight: self.in_flight.clone() };
        self.controller.observe(Event::RouteAck { consumer: "gateway".to_owned(), ack }, self.now);
        let effects = self.controller.decide(self.now, &mut self.ids);
        for (node, assignment) in effects.assignments {
            if let Some(link) = self.links.get_mut(&node) {
                link.inbox = Some(assignment);
            }
        }
        for (node, endpoints) in effects.endpoints {
            if let Some(link) = self.links.get_mut(&node) {
                link.endpoints = Some(endpoints);
            }
        }
        if let Some(at_least) = effects.raise_epoch_at_least {
            self.epoch = self.epoch.max(at_least - 1) + 1;
            self.controller.observe(Event::EpochRaised(self.epoch), self.now);
        }
        self.last.push(Step { after: self.controller.clone(), plan: effects.plan, now: self.now });
        if !effects.forget.is_empty() || !effects.taken_over.is_empty() {
            self.members.retain(|member| !effects.forget.contains(&member.id));
            for member in self.members.iter_mut().filter(|member| effects.taken_over.contains(&member.id)) {
                member.take_over = false;
            }
            self.desire();
        }
    }

    fn step_link(&mut self, id: NodeId, said: &mut BTreeMap<usize, Vec<News>>) {
        let now = self.now;
        let link = self.links.get_mut(&id).unwrap();
        let agent = &mut self.agents[link.agent];
        // What a network that is cut does not deliver waits in the agent's buffer.
        let news =
            if agent.reachable { said.entry(link.agent).or_insert_with(|| std::mem::take(&mut agent.outbox)).clone() } else { vec![] };
        let mut events = Vec::new();
        if link.connected {
            let cut = now.since_ms(link.heard_ms) >= 3_000;
            if !agent.alive || link.heard_by != Some(agent.instance) || (!agent.reachable && cut) {
                link.connected = false;
                link.failures = 0;
                link.next_dial_ms = now.mono_ms;
                events.push(Event::StreamEnded { node: id, error: "the stream ended".to_owned() });
            }
        }
        if !link.connected && now.mono_ms >= link.next_dial_ms {
            if agent.alive && agent.reachable {
                link.connected = true;
                link.heard_by = Some(agent.instance);
                link.seq = 0;
                link.heard_ms = now.mono_ms;
                events.push(Event::Connected { node: id, facts: agent.facts(link.agent) });
                let snapshot = Snapshot { replicas: agent.reports(), leaving: agent.leaving, routes: agent.balancer.acknowledged() };
                events.push(agent.line(id, link, News::Snapshot(snapshot)));
            } else {
                link.failures += 1;
                link.next_dial_ms = now.mono_ms + redial_after_ms(link.failures);
                events.push(Event::DialFailed { node: id, refused: agent.reachable, error: "no answer".to_owned() });
            }
        } else if link.connected && agent.reachable {
            link.heard_ms = now.mono_ms;
            for item in news {
                events.push(agent.line(id, link, item));
            }
            events.push(agent.line(id, link, News::Heartbeat(Heartbeat {})));
        }
        if link.connected
            && agent.reachable
            && let Some(assignment) = link.inbox.take()
        {
            events.push(match agent.put(&assignment) {
                Ok(()) => Event::PutAccepted { node: id, stamp: assignment.stamp },
                Err(refusal) => Event::PutConflict { node: id, stamp: assignment.stamp, held: agent.held, detail: refusal.to_string() },
            });
        }
        if link.connected
            && agent.reachable
            && let Some(endpoints) = link.endpoints.take()
        {
            agent.put_endpoints(endpoints);
        }
        for event in events {
            self.controller.observe(event, now);
        }
    }
}

impl Agent {
    fn new(ids: &mut Counting) -> Self {
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
            balancer: Balancer::default(),
            outbox: vec![],
        }
    }

    fn die(&mut self) {
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

    fn facts(&self, nth: usize) -> NodeFacts {
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

    fn reports(&self) -> Vec<ReplicaReport> {
        self.replicas.values().map(|(report, _)| report.clone()).collect()
    }

    fn line(&self, node: NodeId, link: &mut Link, news: News) -> Event {
        link.seq += 1;
        let line = ObserveLine {
            instance: self.instance,
            seq: link.seq,
            applied: self.held.stamp,
            cluster: self.named_cluster(),
            usage: None,
            news,
        };
        Event::Line { node, line }
    }

    fn put_endpoints(&mut self, incoming: Endpoints) {
        self.outbox.extend(self.balancer.put(incoming, self.held, !self.replicas.is_empty()).map(News::Routes));
    }

    /// Requests of its balancer begin or end on routes that left the table.
    pub fn set_in_flight(&mut self, in_flight: BTreeMap<RouteKey, u64>) {
        self.balancer.in_flight = in_flight;
        self.outbox.extend(self.balancer.acknowledged().map(News::Routes));
    }

    fn put(&mut self, assignment: &Assignment) -> Result<(), Refusal> {
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
                self.replicas.insert(replica.id, (report, replica.phase));
            }
        }
        Ok(())
    }

    fn step(&mut self) {
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
                (AssignedPhase::Run, ObservedPhase::Starting) if self.deaf => {}
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
