//! An agent that starts no process: it obeys assignments at once, or misbehaves as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::app::ABILITY_USES;
use cluster::endpoints::{Acknowledged, Endpoints};
use cluster::fence::{self, Held};
use cluster::route::RouteAck;
use cluster::usage::{HostUsage, ReplicaUsage, Usage, Uses};
use cluster::wire::{
    AGENT_SERVICE, AssignedPhase, Assignment, Heartbeat, News, NodeFacts, ObserveLine, ObservedPhase, ReplicaReport, Snapshot,
};
use cluster::{InstanceId, ReplicaId};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How an agent misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Not at all.
    #[default]
    Good,
    /// It takes connections and never answers.
    Mute,
    /// Its streams of observations say nothing after the snapshot.
    Silent,
    /// It answers as some other HTTP server would.
    Stranger,
    /// It writes a line that is no JSON.
    Garbled,
    /// It writes a line without an end.
    Endless,
    /// It refuses assignments with 422.
    Unable,
    /// It closes each connection after the answer to an assignment, without saying so.
    Abrupt,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    instance: u128,
    held: Held,
    replicas: BTreeMap<ReplicaId, ReplicaReport>,
    assignments: Vec<Assignment>,
    endpoints: Option<Endpoints>,
}

/// A scripted agent.
pub struct FakeAgent {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    server: JoinHandle<()>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl FakeAgent {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts one at this address.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { instance: uuid::Uuid::new_v4().as_u128(), ..State::default() }));
        let changed = watch::Sender::new(0);
        let (served, told) = (Arc::clone(&state), changed.clone());
        let server = tokio::spawn(async move {
            // Dropped with the task: all connections end with their agent.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (state, changed) = (Arc::clone(&served), told.clone());
                connections.spawn(async move {
                    let is_abrupt = state.lock().unwrap().mood == Mood::Abrupt;
                    let service = service_fn(move |request| {
                        let (state, changed) = (Arc::clone(&state), changed.clone());
                        async move { Ok::<_, Infallible>(answer(request, state, changed).await) }
                    });
                    let io = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().keep_alive(!is_abrupt).serve_connection(io, service).await;
                });
            }
        });
        FakeAgent { address, state, changed, server }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        match self.address.ip() {
            IpAddr::V4(ip) => format!("http://{ip}:{}", self.address.port()),
            IpAddr::V6(ip) => format!("http://[{ip}]:{}", self.address.port()),
        }
    }

    /// Changes how it misbehaves.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
        self.changed.send_modify(|version| *version += 1);
    }

    /// Changes what it obeys, as if somebody else had told it.
    pub fn set_held(&self, held: Held) {
        self.state.lock().unwrap().held = held;
        self.changed.send_modify(|version| *version += 1);
    }

    /// Makes it run this.
    pub fn run(&self, report: ReplicaReport) {
        self.state.lock().unwrap().replicas.insert(report.id, report);
        self.changed.send_modify(|version| *version += 1);
    }

    /// What it obeys.
    pub fn held(&self) -> Held {
        self.state.lock().unwrap().held
    }

    /// The assignments that it got, refused ones too.
    pub fn assignments(&self) -> Vec<Assignment> {
        self.state.lock().unwrap().assignments.clone()
    }

    /// The endpoints that it got last.
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.state.lock().unwrap().endpoints.clone()
    }

    /// The replicas that it runs.
    pub fn replicas(&self) -> Vec<ReplicaReport> {
        self.state.lock().unwrap().replicas.values().cloned().collect()
    }

    /// It is gone, as by kill -9.
    pub async fn kill(self) -> SocketAddr {
        let address = self.address;
        self.server.abort();
        let _ = self.server.await;
        address
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    text(status, serde_json::to_vec(value).unwrap())
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>, changed: watch::Sender<u64>) -> Answer {
    let mood = state.lock().unwrap().mood;
    let path = request.uri().path().to_owned();
    if mood == Mood::Mute {
        std::future::pending::<()>().await;
    }
    if mood == Mood::Stranger {
        return text(StatusCode::OK, "<html>hello</html>");
    }
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/node") => json(StatusCode::OK, &facts(&state.lock().unwrap())),
        (&Method::GET, "/v1/observe") => observe(state, changed),
        (&Method::PUT, "/v1/assignment") => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = assign(&mut state.lock().unwrap(), serde_json::from_slice(&body).unwrap());
            changed.send_modify(|version| *version += 1);
            answer
        }
        (&Method::PUT, "/v1/endpoints") => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            state.lock().unwrap().endpoints = Some(serde_json::from_slice(&body).unwrap());
            changed.send_modify(|version| *version += 1);
            text(StatusCode::ACCEPTED, "")
        }
        (&Method::GET, path) if path.starts_with("/v1/replicas/") => {
            let query = request.uri().query().unwrap_or_default();
            text(StatusCode::OK, format!("said by {path} when asked for {query}\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "no"),
    }
}

fn facts(state: &State) -> NodeFacts {
    NodeFacts {
        service: AGENT_SERVICE.to_owned(),
        name: format!("fake-{}", InstanceId(state.instance)),
        instance: InstanceId(state.instance),
        cluster: state.held.cluster,
        keep_workers: false,
        os: "linux".to_owned(),
        cores: 2,
        memory_bytes: 0,
        labels: BTreeMap::new(),
        version: "0".to_owned(),
    }
}

fn observe(state: Arc<Mutex<State>>, changed: watch::Sender<u64>) -> Answer {
    let mut changes = changed.subscribe();
    changes.mark_changed();
    let lines = futures_util::stream::unfold((state, changes, 0), |(state, mut changes, seq)| async move {
        let changed = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await.is_ok();
        let mood = state.lock().unwrap().mood;
        if mood == Mood::Silent && seq > 0 {
            std::future::pending::<()>().await;
        }
        let line = match mood {
            Mood::Garbled => Bytes::from_static(b"{\"instance\":\n"),
            Mood::Endless => Bytes::from(vec![b' '; 1024 * 1024]),
            _ => line(&state.lock().unwrap(), seq + 1, changed),
        };
        Some((Ok(Frame::data(line)), (state, changes, seq + 1)))
    });
    Response::new(StreamBody::new(lines).boxed_unsync())
}

fn line(state: &State, seq: u64, changed: bool) -> Bytes {
    let runs_anything = !state.replicas.is_empty();
    let news = match changed {
        true => News::Snapshot(Snapshot { replicas: state.replicas.values().cloned().collect(), leaving: false, routes: routes(state) }),
        false => News::Heartbeat(Heartbeat {}),
    };
    let cluster = state.held.cluster.filter(|_| runs_anything);
    let line = ObserveLine {
        instance: InstanceId(state.instance),
        seq,
        applied: state.held.stamp,
        cluster,
        usage: changed.then(|| usage(state)),
        news,
    };
    let mut json = serde_json::to_vec(&line).unwrap();
    json.push(b'\n');
    json.into()
}

fn routes(state: &State) -> Option<Acknowledged> {
    state.endpoints.as_ref().map(|endpoints| Acknowledged::new(endpoints.stamp, endpoints.version, &RouteAck::default()))
}

/// What its replicas and its host use: always the same.
fn usage(state: &State) -> Usage {
    let uses = Uses { cpu_ms: 4_250, cpu_milli: 100, memory_bytes: 3 << 20, open_files: 9, threads: 4, processes: 2 };
    let of = |report: &ReplicaReport| ReplicaUsage { id: report.id, attempt: report.attempt, uses };
    let host = HostUsage { cpu_ms: 60_500, memory_used_bytes: 1 << 30, memory_bytes: 4 << 30, load_milli: 250, ..HostUsage::default() };
    Usage { host: Some(host), replicas: state.replicas.values().map(of).collect() }
}

fn assign(state: &mut State, assignment: Assignment) -> Answer {
    state.assignments.push(assignment.clone());
    if state.mood == Mood::Unable {
        return json(StatusCode::UNPROCESSABLE_ENTITY, &serde_json::json!({"detail": "this agent cannot do that"}));
    }
    if let Err(refusal) = fence::judge(state.held, !state.replicas.is_empty(), &[ABILITY_USES], &assignment) {
        let body = serde_json::json!({"detail": refusal.to_string(), "held": state.held});
        return json(StatusCode::CONFLICT, &body);
    }
    state.held = Held { cluster: Some(assignment.cluster), stamp: Some(assignment.stamp) };
    let before = std::mem::take(&mut state.replicas);
    for wanted in assignment.replicas.iter().filter(|wanted| wanted.phase != AssignedPhase::Stop) {
        let known = before.get(&wanted.id).cloned();
        let fresh = || {
            let report = running(wanted.id, u16::try_from(2000 + state.assignments.len()).unwrap());
            ReplicaReport { app: wanted.app.clone(), revision: wanted.revision, ..report }
        };
        let report = known.unwrap_or_else(fresh);
        state.replicas.insert(wanted.id, report);
    }
    text(StatusCode::ACCEPTED, "")
}

/// A report of a replica of the seed's app that is well.
pub fn running(id: ReplicaId, port: u16) -> ReplicaReport {
    ReplicaReport {
        id,
        app: cluster::AppName::builtin(),
        revision: 1,
        attempt: 1,
        phase: ObservedPhase::Running,
        ready: true,
        pid: Some(4211),
        port: Some(port),
        tree: Some(cluster::tree::Tree::Cgroup),
        limits: Default::default(),
        age_ms: 12_400,
        restarts: 0,
        log_dropped_bytes: 0,
        failures: 0,
        detail: String::new(),
        finished: false,
        checks: vec![],
    }
}
