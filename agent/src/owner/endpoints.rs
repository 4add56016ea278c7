//! Endpoints: what the balancer of this agent works by, and telling what it acknowledged.

use cluster::endpoints::{self, Endpoints};
use cluster::fence::{Held, Verdict};
use cluster::wire::Stamp;

use super::{Owner, Refused};

impl Owner {
    pub(super) fn take_endpoints(&mut self, endpoints: Endpoints) -> Result<Stamp, Refused> {
        let held = self.uses.held();
        let stamp = endpoints.stamp;
        let verdict = endpoints::judge(self.held, !self.slots.is_empty(), held, &endpoints).map_err(|refusal| {
            self.figures.refused_total += 1;
            tracing::warn!("refused endpoints: {refusal}");
            Refused { refusal, held: held.map_or(self.held, |held| Held { cluster: Some(held.cluster), stamp: Some(held.stamp) }) }
        })?;
        if verdict == Verdict::Apply {
            tracing::debug!(%stamp, apps = endpoints.apps.len(), "working by endpoints");
            self.uses.take(endpoints);
        }
        // Said again where they came again: whoever sent them has not heard it.
        self.routes_told = None;
        self.routes_are_news = true;
        Ok(stamp)
    }

    /// Says what the balancer works by, if that is news. How many requests are under way on a route is none, as long as there are some.
    pub(super) fn tell_routes(&mut self) {
        if !std::mem::take(&mut self.routes_are_news) {
            return;
        }
        let Some(acknowledged) = self.uses.acknowledged() else { return };
        let mut in_short = acknowledged.clone();
        in_short.in_flight.iter_mut().for_each(|under_way| under_way.requests = 1);
        if self.routes_told.as_ref() != Some(&in_short) {
            self.routes_told = Some(in_short);
            self.observers.routes(&acknowledged, self.standing());
        }
    }
}
