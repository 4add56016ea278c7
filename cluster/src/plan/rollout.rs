//! Replicas of an earlier revision give way to those of the present one, one after another.
//!
//! One more than is wanted may be there meanwhile. A replica of the earlier revision drains only when so many are ready without it as are
//! wanted: so a revision that never becomes ready changes nothing of what runs. Absent from here: how fast, how many at once, and what
//! happens to a revision that fails. All of a rollout is derived from the slots, so a new controller goes on with it.

use std::collections::BTreeSet;

use super::Planner;
use crate::app::App;
use crate::id::ReplicaId;

/// How many more replicas than wanted there may be while a revision takes the place of another.
pub const ROLLOUT_SURGE: usize = 1;

impl Planner<'_> {
    fn is_old(&self, app: &App, id: ReplicaId) -> bool {
        self.slots.get(&id).is_some_and(|slot| slot.revision != app.revision)
    }

    /// It does its work, or has done it.
    fn does_well(&self, id: ReplicaId) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        self.state.seen(id, slot).is_some_and(|seen| seen.report.ready || seen.report.finished)
    }

    /// Lets go of what is too much of the earlier revisions; returns the revision of the oldest that is left.
    pub(super) fn retire(&mut self, app: &App, staying: &mut Vec<ReplicaId>) -> Option<u64> {
        let (old, mut present): (Vec<ReplicaId>, Vec<ReplicaId>) = staying.iter().partition(|id| self.is_old(app, **id));
        if old.is_empty() {
            return None;
        }
        let wanted = app.desired as usize;
        let (mut working, mut idle): (Vec<ReplicaId>, Vec<ReplicaId>) = old.iter().partition(|id| self.does_well(**id));
        let fewer = format!("{wanted} replicas of {} are wanted", app.name);
        let surplus = old.len().saturating_sub(wanted);
        let of_idle = surplus.min(idle.len());
        self.let_go_of(app, &mut idle, of_idle, &fewer);
        self.let_go_of(app, &mut working, surplus - of_idle, &fewer);
        let done = present.iter().filter(|id| self.does_well(**id)).count();
        let took_over = format!("revision {} of {} has taken its place", app.revision, app.name);
        if done > 0 {
            // The present revision works: what does not work of an earlier one is of no use.
            idle.drain(..).for_each(|id| self.drain(id, took_over.clone()));
        }
        let spare = (done + working.len()).saturating_sub(wanted);
        self.let_go_of(app, &mut working, spare, &took_over);
        // Fewer are wanted than before, and the present revision does not come up: its newest go first.
        let room = (wanted + ROLLOUT_SURGE).saturating_sub(working.len() + idle.len());
        let mut waiting: Vec<ReplicaId> = present.iter().copied().filter(|id| !self.does_well(*id)).collect();
        waiting.sort_unstable();
        let excess = if working.is_empty() && idle.is_empty() { 0 } else { present.len().saturating_sub(room) };
        for id in waiting.into_iter().rev().take(excess) {
            self.drain(id, fewer.clone());
            present.retain(|other| *other != id);
        }
        let left: BTreeSet<ReplicaId> = working.into_iter().chain(idle).chain(present).collect();
        staying.retain(|id| left.contains(id));
        staying.iter().filter_map(|id| self.slots.get(id)).map(|slot| slot.revision).filter(|revision| *revision != app.revision).min()
    }

    /// How many are to be started.
    pub(super) fn missing(&self, app: &App, staying: &[ReplicaId], old: Option<u64>) -> usize {
        let wanted = app.desired as usize;
        let present = staying.iter().filter(|id| !self.is_old(app, **id)).count();
        let surge = if old.is_some() { ROLLOUT_SURGE } else { 0 };
        wanted.saturating_sub(present).min((wanted + surge).saturating_sub(staying.len()))
    }

    /// Says how far a rollout is.
    pub(super) fn explain_rollout(&mut self, app: &App, staying: &[ReplicaId], old: u64) {
        let done = staying.iter().filter(|id| !self.is_old(app, **id) && self.does_well(**id)).count();
        let sentence = format!(
            "revision {} takes the place of revision {old}, one replica after another: {done} of {} are ready",
            app.revision, app.desired
        );
        self.plan.waiting.entry(app.name.clone()).or_default().push(sentence);
    }
}
