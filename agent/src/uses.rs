//! The addresses at which replicas here call other apps: one on loopback for each app that any of them uses, and the balancer behind.
//!
//! The balancer is the gateway, of one thread, and starts with the first address. It works by the endpoints that a controller sends, and what it
//! acknowledges goes back to that controller. Absent from here: which replicas there are, and HTTP.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::app::AppName;
use cluster::endpoints::{Acknowledged, Endpoints, HeldEndpoints};
use cluster::route::{RouteAck, RouteKey, RoutingTable};
use cluster::wire::Stamp;
use cluster::{ClusterId, NodeId};
use gateway::{Door, Face, Gateway, listen};

/// The most addresses: an app keeps its own while the agent lives.
const ADDRESSES_MAX: usize = 1_024;
/// The most tables that may wait to be acknowledged; where there are more, an early one is acknowledged late.
const PENDING_MAX: usize = 64;

/// Why an app has no address here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are many already.
    #[error("it uses {0}, and this agent has addresses of {ADDRESSES_MAX} apps already; start the agent anew, or use fewer apps")]
    TooMany(AppName),
    /// No port.
    #[error("it uses {app}, which can have no address here: {source}")]
    Listen {
        /// The app.
        app: AppName,
        /// Why.
        source: listen::Error,
    },
    /// The balancer does not start.
    #[error("it uses {app}, and the balancer of this agent does not start: {source}")]
    Gateway {
        /// The app.
        app: AppName,
        /// Why.
        source: gateway::Error,
    },
}

/// All addresses, and the balancer.
#[derive(Debug)]
pub struct Uses {
    gateway: Option<Gateway>,
    ports: BTreeMap<AppName, u16>,
    /// Where the ports stand, so that the next agent on this runtime directory has the same: replicas that outlive this one know them.
    record: PathBuf,
    recorded: BTreeMap<AppName, u16>,
    held: Option<HeldEndpoints>,
    table: Arc<RoutingTable>,
    /// Tables that were published and not acknowledged yet, by the balancer's own count of them: those of two epochs cannot be compared.
    pending: VecDeque<(u64, Works)>,
    published: u64,
    works_by: Option<Works>,
}

/// What a table was made from.
#[derive(Clone, Copy, Debug)]
struct Works {
    stamp: Stamp,
    version: u64,
}

impl Uses {
    /// None yet. `record`: the file where the ports stand.
    pub fn new(record: PathBuf) -> Self {
        let recorded = match fs::read(&record) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => BTreeMap::new(),
        };
        Uses {
            gateway: None,
            ports: BTreeMap::new(),
            record,
            recorded,
            held: None,
            table: Arc::default(),
            pending: VecDeque::new(),
            published: 0,
            works_by: None,
        }
    }

    /// Sees to it that these apps have addresses.
    ///
    /// # Errors
    /// An [`Error`], for the first that can have none.
    pub fn open(&mut self, apps: &[AppName]) -> Result<(), Error> {
        let before = self.ports.len();
        let opened = apps.iter().try_for_each(|app| self.open_one(app));
        if self.ports.len() > before {
            self.write_down();
        }
        opened
    }

    /// The variables that tell a replica the addresses of these apps.
    pub fn variables(&self, apps: &[AppName]) -> BTreeMap<String, String> {
        let known = apps.iter().filter_map(|app| self.ports.get_key_value(app));
        known.map(|(app, port)| (variable(app), format!("http://{}:{port}", Ipv4Addr::LOCALHOST))).collect()
    }

    fn open_one(&mut self, app: &AppName) -> Result<(), Error> {
        if self.ports.contains_key(app) {
            return Ok(());
        }
        if self.ports.len() >= ADDRESSES_MAX {
            return Err(Error::TooMany(app.clone()));
        }
        let bind = |port| listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 1);
        let again = self.recorded.get(app).and_then(|port| bind(*port).ok());
        let listeners = again.map_or_else(|| bind(0), Ok).map_err(|source| Error::Listen { app: app.clone(), source })?;
        let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
        let door = Door::new(listeners, Face::App(app.clone()));
        let failed = |source| Error::Gateway { app: app.clone(), source };
        match &self.gateway {
            Some(gateway) => gateway.open(door).map_err(failed)?,
            None => {
                let gateway = Gateway::start(gateway::Config { threads: 1, ..gateway::Config::default() }, vec![door]).map_err(failed)?;
                if self.held.is_some() {
                    gateway.publish(Arc::clone(&self.table));
                }
                self.gateway = Some(gateway);
            }
        }
        tracing::info!(%app, port, "replicas here call it at this port");
        self.ports.insert(app.clone(), port);
        Ok(())
    }

    /// Beside what was there, so that a record is never half written.
    fn write_down(&self) {
        let beside = self.record.with_extension("new");
        let bytes = serde_json::to_vec(&self.ports).unwrap_or_default();
        if let Err(e) = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &self.record)) {
            tracing::warn!("cannot write down the ports of apps in {}: {e}", self.record.display());
        }
    }

    /// The endpoints that are held.
    pub fn held(&self) -> Option<HeldEndpoints> {
        self.held
    }

    /// Works by these from now on.
    pub fn take(&mut self, endpoints: Endpoints) {
        let Endpoints { cluster, stamp, version, apps, gone } = endpoints;
        self.held = Some(HeldEndpoints { cluster, stamp });
        self.publish(apps, Works { stamp, version }, &gone);
    }

    /// Listens to this cluster: what another one said of its replicas does not count any more.
    pub fn listen_to(&mut self, cluster: ClusterId) {
        if self.held.take_if(|held| held.cluster != cluster).is_some() {
            self.pending.clear();
            self.works_by = None;
            self.publish(BTreeMap::new(), Works { stamp: Stamp::default(), version: 0 }, &BTreeSet::new());
        }
    }

    fn publish(&mut self, apps: BTreeMap<AppName, cluster::route::AppRoutes>, works: Works, gone: &BTreeSet<NodeId>) {
        self.published += 1;
        let table = RoutingTable { version: self.published, apps, ..RoutingTable::default() };
        let before = std::mem::replace(&mut self.table, Arc::new(table));
        let Some(gateway) = &self.gateway else {
            // Nobody sends anything.
            self.works_by = Some(works);
            return;
        };
        gateway.publish(Arc::clone(&self.table));
        self.pending.push_back((self.published, works));
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_front();
        }
        let stays: BTreeSet<RouteKey> = self.table.routes().map(|(_, route)| route.key).collect();
        let lost = before.routes().map(|(_, route)| route).filter(|route| gone.contains(&route.node) && !stays.contains(&route.key));
        // Behind the table that lacks them: what waits on them finds another replica.
        gateway.abandon(lost.map(|route| route.key).collect());
    }

    /// Returns when what is acknowledged may have changed.
    pub async fn changed(&self) {
        match &self.gateway {
            Some(gateway) => gateway.ack_changed().await,
            None => std::future::pending().await,
        }
    }

    /// What the balancer works by; `None` where no controller has told it anything.
    pub fn acknowledged(&mut self) -> Option<Acknowledged> {
        let ack = self.gateway.as_ref().map_or_else(RouteAck::default, Gateway::ack);
        while let Some((_, works)) = self.pending.pop_front_if(|(count, _)| *count <= ack.version) {
            self.works_by = Some(works);
        }
        let works = self.works_by.filter(|_| self.held.is_some())?;
        Some(Acknowledged::new(works.stamp, works.version, &ack))
    }

    /// Ends all of it: nobody is left who calls.
    pub async fn end(self) {
        if let Some(gateway) = self.gateway {
            gateway.shutdown(Duration::ZERO).await;
        }
    }
}

/// The name of the variable: names of apps have no `_`, so no two share one.
fn variable(app: &AppName) -> String {
    format!("OSTLER_USES_{}", app.as_str().to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn endpoints(generation: u64) -> Endpoints {
        let stamp = Stamp { epoch: 1, generation };
        Endpoints { cluster: ClusterId(1), stamp, version: generation + 10, apps: BTreeMap::new(), gone: BTreeSet::new() }
    }

    #[test]
    fn a_variable_is_named_after_its_app() {
        assert_eq!(variable(&app("order-store2")), "OSTLER_USES_ORDER_STORE2");
    }

    #[tokio::test]
    async fn an_address_stays_and_the_next_agent_has_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("uses.json");
        let apps = [app("one"), app("two")];
        let mut first = Uses::new(record.clone());
        first.open(&apps[..1]).unwrap();
        let before = first.variables(&apps[..1]);
        first.open(&apps).unwrap();
        assert_eq!(first.variables(&apps[..1]), before);
        let before = first.variables(&apps);
        assert_eq!(before.len(), 2);
        // It is killed.
        drop(first);
        let mut next = Uses::new(record);
        next.open(&apps).unwrap();
        assert_eq!(next.variables(&apps), before);
        next.end().await;
    }

    #[tokio::test]
    async fn nothing_starts_before_anybody_uses_an_app_and_endpoints_are_acknowledged_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut uses = Uses::new(dir.path().join("uses.json"));
        assert_eq!(uses.acknowledged(), None);
        uses.take(endpoints(1));
        assert!(uses.gateway.is_none());
        assert_eq!(uses.acknowledged().unwrap().version, 11);
        uses.open(&[app("one")]).unwrap();
        uses.take(endpoints(2));
        while uses.acknowledged().unwrap().stamp.generation < 2 {
            uses.changed().await;
        }
        assert_eq!(uses.acknowledged().unwrap().version, 12);
        uses.listen_to(ClusterId(1));
        assert!(uses.acknowledged().is_some());
        uses.listen_to(ClusterId(2));
        assert_eq!((uses.acknowledged(), uses.held()), (None, None));
        uses.end().await;
    }
}
