//! A gateway on free ports, with tables made of upstreams.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::app::AppName;
use cluster::id::{NodeId, ReplicaId};
use cluster::route::{AppRoutes, Route, RouteAck, RouteKey, RoutingTable, Target};
use cluster::traffic::Traffic;
use gateway::{AppFigures, Config, Door, Face, Gateway, Limits, listen};

use crate::client::{Answer, Client, until};
use crate::upstream::Upstream;

pub struct Rig {
    pub gateway: Gateway,
    pub addr: SocketAddr,
    version: AtomicU64,
}

pub fn key(number: u128) -> RouteKey {
    RouteKey { replica: ReplicaId(number), attempt: 1 }
}

pub fn route(number: u128, target: Target) -> Route {
    Route { key: key(number), node: NodeId(1), target, last_choice: false, age_ms: 0 }
}

pub fn direct(number: u128, upstream: &Upstream) -> Route {
    route(number, Target::Loopback(upstream.addr.port()))
}

/// A port that refuses connections while the returned socket lives: it is bound, and nobody listens.
pub fn refusing() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

impl Rig {
    pub fn new(threads: usize) -> Self {
        Self::with(threads, Limits::default(), Face::Apps)
    }

    pub fn with(threads: usize, limits: Limits, face: Face) -> Self {
        Self::with_config(Config { threads, limits, ..Config::default() }, face)
    }

    /// A gateway of one thread that believes these peers.
    pub fn trusting(network: &str) -> Self {
        let config = Config { threads: 1, trusted_proxies: vec![network.parse().unwrap()], ..Config::default() };
        Self::with_config(config, Face::Apps)
    }

    pub fn with_config(config: Config, face: Face) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), config, face)
    }

    pub fn at(address: IpAddr, config: Config, face: Face) -> Self {
        let listeners = listen::bind(SocketAddr::from((address, 0)), config.threads).unwrap();
        let addr = listeners[0].local_addr().unwrap();
        Self::of(Gateway::start(config, vec![Door::new(listeners, face)]).unwrap(), addr)
    }

    pub fn of(gateway: Gateway, addr: SocketAddr) -> Self {
        Rig { gateway, addr, version: AtomicU64::new(0) }
    }

    pub fn table(&self, desired: u32, replicas: Vec<Route>) -> RoutingTable {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let routes = AppRoutes { desired, keepalive_idle_ms: 4_000, replicas, ..AppRoutes::default() };
        RoutingTable { epoch: 1, version, fallback: Some(AppName::builtin()), apps: BTreeMap::from([(AppName::builtin(), routes)]) }
    }

    /// Publishes these with another way of spreading requests.
    pub fn publish_spread(&self, replicas: Vec<Route>, traffic: Traffic) {
        let mut table = self.table(u32::try_from(replicas.len()).unwrap(), replicas);
        table.apps.values_mut().for_each(|app| app.traffic = traffic.clone());
        self.publish_table(table);
    }

    pub fn figures(&self) -> AppFigures {
        self.gateway.observer().figures().apps.remove(&AppName::builtin()).unwrap()
    }

    /// Publishes, and waits until all threads have acknowledged.
    pub fn publish(&self, replicas: Vec<Route>) -> u64 {
        self.publish_table(self.table(u32::try_from(replicas.len().max(1)).unwrap(), replicas))
    }

    pub fn publish_table(&self, table: RoutingTable) -> u64 {
        let version = table.version;
        self.gateway.publish(Arc::new(table));
        self.await_ack("a table is acknowledged", |ack| ack.version >= version);
        version
    }

    /// Waits for an acknowledgement, woken as a controller is.
    pub fn await_ack(&self, what: &str, mut condition: impl FnMut(&RouteAck) -> bool) {
        until(what, || condition(&self.gateway.ack()));
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Sends what is to be refused: a problem of this status, and the end of the connection.
    pub fn refused(&self, sent: impl AsRef<[u8]>, status: u16) -> String {
        let shown = String::from_utf8_lossy(&sent.as_ref()[..sent.as_ref().len().min(120)]).into_owned();
        let mut client = self.client();
        client.send(&sent);
        let answer = client.answer(false).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{shown:?}");
        assert!(client.has_ended(), "{shown:?}");
        answer.problem(status)
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }
}
