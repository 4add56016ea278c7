//! Replicas whose artifact is being made ready: they wait for it, and start when it is there.

use cluster::ReplicaId;
use cluster::artifact::Artifact;
use cluster::supervise::{Event, State};
use cluster::wire::AssignedPhase;

use super::Owner;
use crate::artifact::{Finished, Wish};

impl Owner {
    /// An attempt needs an artifact before it can start.
    pub(super) fn fetch(&mut self, artifact: &Artifact, wish: Wish) {
        self.fetches.want(artifact, wish);
        self.tell_fetches();
    }

    /// An artifact is ready, or cannot be.
    pub(super) fn fetched(&mut self, finished: Finished) {
        let Finished { wishes, result } = finished;
        for Wish { id, attempt, reserve_port } in wishes {
            let is_present = |slot: &crate::slot::Slot| slot.replica.attempt == attempt && slot.replica.state == State::Spawning;
            if self.slots.get(&id).is_none_or(|slot| !is_present(slot)) {
                continue;
            }
            let started = match &result {
                Ok(lease) => self.spawn(id, attempt, reserve_port, Some(lease.clone())),
                Err(why) => Err(why.clone()),
            };
            if let Err(error) = started {
                self.failed.push_back((id, Event::SpawnFailed { attempt, error }));
            }
            self.dirty.insert(id);
        }
    }

    /// A replica that nobody wants any more does not wait for its artifact.
    pub(super) fn give_up_fetch(&mut self, id: ReplicaId) {
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.replica.wanted != AssignedPhase::Run) else { return };
        let attempt = slot.replica.attempt;
        if slot.replica.state == State::Spawning && self.fetches.give_up(id) {
            self.feed(id, Event::GivenUp { attempt });
        }
    }

    /// Says how far artifacts are.
    pub(super) fn tell_fetches(&mut self) {
        for (id, said) in self.fetches.news() {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.attempt.preparing = Some(said);
                self.dirty.insert(id);
            }
        }
    }
}
