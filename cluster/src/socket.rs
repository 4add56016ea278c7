//! Which socket a replica gets whose agent opens it: a new one, or that of the replica that it replaces.
//!
//! Absent from here: sockets. The guardian holds them, by the ids that are chosen here. A socket stays with its replica over all attempts, so who
//! connects between two of them waits. A replica that is new takes over the socket of one of its app that goes or has just gone, so
//! that nobody is refused while one replica is replaced by another on a host.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::AppName;
use crate::id::ReplicaId;

/// How long a socket is kept for the next replica once nobody holds it, in milliseconds.
pub const KEPT_MS: u64 = 10_000;

/// The sockets of one agent, each named by the replica that it was opened for.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    all: BTreeMap<ReplicaId, Socket>,
}

#[derive(Clone, Debug)]
struct Socket {
    app: AppName,
    /// The replica that keeps it.
    kept_by: Option<ReplicaId>,
    /// Those that have it still, and were told to go.
    left_by: BTreeSet<ReplicaId>,
    /// Since when nobody has it.
    free_since_ms: Option<u64>,
}

impl Sockets {
    /// The socket for an attempt of this replica: the one that it has; else one of its app that was left; else a new one.
    pub fn of(&mut self, app: &AppName, id: ReplicaId, now_ms: u64) -> ReplicaId {
        self.all.retain(|_, socket| socket.free_since_ms.is_none_or(|since| now_ms.saturating_sub(since) < KEPT_MS));
        if let Some(name) = self.had_by(id) {
            return name;
        }
        if let Some((name, socket)) = self.all.iter_mut().find(|(_, socket)| socket.app == *app && socket.kept_by.is_none()) {
            socket.kept_by = Some(id);
            socket.free_since_ms = None;
            return *name;
        }
        let socket = Socket { app: app.clone(), kept_by: Some(id), left_by: BTreeSet::new(), free_since_ms: None };
        self.all.insert(id, socket);
        id
    }

    /// The socket that a replica has.
    #[must_use]
    pub fn had_by(&self, id: ReplicaId) -> Option<ReplicaId> {
        self.all.iter().find(|(_, socket)| socket.is_held_by(id)).map(|(name, _)| *name)
    }

    /// A replica that was there before this agent has this socket; `goes`: it was told to drain or to stop.
    pub fn has(&mut self, app: &AppName, id: ReplicaId, name: ReplicaId, goes: bool) {
        let new = || Socket { app: app.clone(), kept_by: None, left_by: BTreeSet::new(), free_since_ms: None };
        let socket = self.all.entry(name).or_insert_with(new);
        if goes {
            socket.left_by.insert(id);
        } else {
            socket.kept_by = Some(id);
        }
    }

    /// A replica was told to drain or to stop: another may have its socket.
    pub fn leaves(&mut self, id: ReplicaId) {
        for socket in self.all.values_mut().filter(|socket| socket.kept_by == Some(id)) {
            socket.kept_by = None;
            socket.left_by.insert(id);
        }
    }

    /// A replica is gone.
    pub fn gone(&mut self, id: ReplicaId, now_ms: u64) {
        self.leaves(id);
        for socket in self.all.values_mut() {
            if socket.left_by.remove(&id) && socket.left_by.is_empty() && socket.kept_by.is_none() {
                socket.free_since_ms = Some(now_ms);
            }
        }
    }
}

impl Socket {
    fn is_held_by(&self, id: ReplicaId) -> bool {
        self.kept_by == Some(id) || self.left_by.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().expect(name)
    }

    #[test]
    fn all_attempts_of_a_replica_have_one_socket() {
        let mut sockets = Sockets::default();
        let first = sockets.of(&app("a"), ReplicaId(1), 0);
        assert_eq!(sockets.of(&app("a"), ReplicaId(1), 99_000), first);
        // One that drains, and whose process ended meanwhile, as well.
        sockets.leaves(ReplicaId(1));
        assert_eq!(sockets.of(&app("a"), ReplicaId(1), 200_000), first);
    }

    #[test]
    fn a_replica_takes_over_from_one_that_goes_and_from_no_other() {
        let mut sockets = Sockets::default();
        let first = sockets.of(&app("a"), ReplicaId(1), 0);
        assert_ne!(sockets.of(&app("a"), ReplicaId(2), 0), first);
        sockets.leaves(ReplicaId(1));
        assert_ne!(sockets.of(&app("b"), ReplicaId(3), 0), first);
        assert_eq!(sockets.of(&app("a"), ReplicaId(4), 0), first);
        assert_ne!(sockets.of(&app("a"), ReplicaId(5), 0), first);
        // It was taken over: the end of the first holder changes nothing.
        sockets.gone(ReplicaId(1), 5);
        assert_eq!(sockets.of(&app("a"), ReplicaId(4), 99_000), first);
    }

    #[test]
    fn a_socket_is_kept_for_a_while_after_the_last_that_had_it() {
        for (after_ms, is_kept) in [(0, true), (KEPT_MS - 1, true), (KEPT_MS, false)] {
            let mut sockets = Sockets::default();
            let first = sockets.of(&app("a"), ReplicaId(1), 0);
            sockets.gone(ReplicaId(1), 1_000);
            assert_eq!(sockets.of(&app("a"), ReplicaId(2), 1_000 + after_ms) == first, is_kept, "{after_ms}");
        }
    }

    #[test]
    fn what_replicas_had_before_their_agent_is_theirs_again() {
        let mut sockets = Sockets::default();
        // The one before it drains and has it still.
        sockets.has(&app("a"), ReplicaId(1), ReplicaId(7), true);
        sockets.has(&app("a"), ReplicaId(2), ReplicaId(7), false);
        for id in [1, 2] {
            assert_eq!(sockets.of(&app("a"), ReplicaId(id), 0), ReplicaId(7));
        }
        assert_ne!(sockets.of(&app("a"), ReplicaId(3), 0), ReplicaId(7));
        sockets.gone(ReplicaId(1), 5);
        assert_ne!(sockets.of(&app("a"), ReplicaId(4), 6), ReplicaId(7));
        sockets.gone(ReplicaId(2), 6);
        assert_eq!(sockets.of(&app("a"), ReplicaId(5), 7), ReplicaId(7));
    }

    proptest! {
        #[test]
        fn no_two_replicas_that_are_wanted_share_a_socket(steps in prop::collection::vec((0_u8..3, 0_u128..12, 0_u64..4_000), 1..80)) {
            let mut sockets = Sockets::default();
            let (mut now_ms, mut wanted, mut over) = (0, BTreeMap::new(), BTreeSet::new());
            for (what, id, wait_ms) in steps {
                now_ms += wait_ms;
                let (id, name) = (ReplicaId(id), app(if id % 3 == 0 { "a" } else { "b" }));
                match what {
                    0 if !over.contains(&id) => {
                        let socket = sockets.of(&name, id, now_ms);
                        let before = wanted.insert(id, (name.clone(), socket));
                        prop_assert!(before.is_none_or(|before| before == (name, socket)));
                    }
                    1 => {
                        sockets.leaves(id);
                        wanted.remove(&id);
                        over.insert(id);
                    }
                    2 => {
                        sockets.gone(id, now_ms);
                        wanted.remove(&id);
                        over.insert(id);
                    }
                    _ => {}
                }
                let distinct: BTreeSet<ReplicaId> = wanted.values().map(|(_, socket)| *socket).collect();
                prop_assert_eq!(distinct.len(), wanted.len());
            }
        }
    }
}
