//! Which app a request belongs to: the rules of a routing table, arranged so that asking costs neither memory nor a look at every app.
//!
//! Every rule that takes in a request's host and path claims it. Of several the most particular one has it: a rule for that very host before
//! one with a `*`, that before one for any host; among those for one host the longest path. What no rule claims is the default app's.
//!
//! A path is looked at as it is forwarded, byte for byte: nothing is decoded, no `//` is made one, no dots are followed. So router and
//! replica cannot see different paths, unless the replica follows dots: then `/public/../admin` would get out of what `/public` claims. Where a
//! path of a rule was decisive, such a request has no app: [`Unrouted::Climbs`].
//!
//! Absent from here: replicas, and taking the prefix off (`gateway`).

use std::collections::BTreeMap;

use crate::route::{AppRoutes, RoutingTable};
use crate::rule::{HostPattern, PathPrefix};

/// The longest name of a host (RFC 1035 section 2.3.4), with a dot at the end. No rule has a longer one.
const HOST_BYTES_MAX: usize = 254;

/// The rules of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// By host, in lower case.
    exact: BTreeMap<String, Paths>,
    /// By what follows the `*.`.
    wildcard: BTreeMap<String, Paths>,
    any: Paths,
    /// There is no rule at all.
    is_plain: bool,
    fallback: Option<usize>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The number of the app, in the order of their names.
    pub app: usize,
    /// How many bytes at the front of the path the replica does not get: those of the rule's path. What is left lacks its first `/` where
    /// nothing followed.
    pub strip_bytes: usize,
}

/// Why a request has no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrouted {
    /// No rule claims it, and there is no default app.
    #[error("no app has a route for it")]
    Unclaimed,
    /// Its path has `..` as a segment below a rule's path.
    #[error("its path has a segment that leads up, out of what its route claims")]
    Climbs,
}

impl Router {
    /// The rules of a table.
    #[must_use]
    pub fn new(table: &RoutingTable) -> Self {
        let mut router = Router { is_plain: table.apps.values().all(|routes| routes.rules.is_empty()), ..Router::default() };
        for (number, (name, routes)) in table.apps.iter().enumerate() {
            router.take(number, routes);
            if table.fallback.as_ref() == Some(name) {
                router.fallback = Some(number);
            }
        }
        router.exact.values_mut().chain(router.wildcard.values_mut()).for_each(Paths::arrange);
        router.any.arrange();
        router
    }

    fn take(&mut self, app: usize, routes: &AppRoutes) {
        for rule in &routes.rules {
            let paths = match &rule.host {
                Some(HostPattern::Exact(host)) => self.exact.entry(host.clone()).or_default(),
                Some(HostPattern::Wildcard(suffix)) => self.wildcard.entry(suffix.clone()).or_default(),
                None => &mut self.any,
            };
            paths.entries.push(Entry { path: rule.path.clone(), app, strips: rule.strip_prefix, shorter: None });
        }
    }

    /// The app of a request. `host` as the client said it, perhaps with a port; `path` without its query.
    ///
    /// # Errors
    /// A [`Unrouted`].
    pub fn app_for(&self, host: &str, path: &str) -> Result<Match, Unrouted> {
        let claim = if self.is_plain { None } else { self.claim(host, path) };
        match claim {
            Some(entry) if entry.path.as_str() != "/" && climbs(path) => Err(Unrouted::Climbs),
            Some(entry) => Ok(Match { app: entry.app, strip_bytes: entry.strip_bytes() }),
            None => self.fallback.map(|app| Match { app, strip_bytes: 0 }).ok_or(Unrouted::Unclaimed),
        }
    }

    /// The most particular rule that claims the request.
    fn claim(&self, host: &str, path: &str) -> Option<&Entry> {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return self.any.longest(path);
        }
        let mut room = [0; HOST_BYTES_MAX];
        let host = plain(host, &mut room);
        let exact = host.and_then(|host| self.exact.get(host)?.longest(path));
        let wildcard = || {
            let (first, suffix) = host?.split_once('.')?;
            let paths = self.wildcard.get(suffix).filter(|_| !first.is_empty());
            paths?.longest(path)
        };
        exact.or_else(wildcard).or_else(|| self.any.longest(path))
    }
}

/// A host without its port and the dot that may end it (RFC 3986 section 3.2.2), in lower case. An address of IPv6 in its shortest form would
/// need to be read: it is compared as it is. `None`: longer than any name.
fn plain<'a>(host: &str, room: &'a mut [u8; HOST_BYTES_MAX]) -> Option<&'a str> {
    let end = if host.starts_with('[') { host.find(']').map_or(host.len(), |at| at + 1) } else { host.find(':').unwrap_or(host.len()) };
    let host = host.get(..end)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    let room = room.get_mut(..host.len())?;
    room.copy_from_slice(host.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).ok()
}

/// Whether a server that follows dots may be led up by this path: it has a segment `..`, where `%2e` may stand for a dot, `%2f`, `\` and `%5c`
/// may be taken for a `/`, and what follows a `;` may be dropped.
fn climbs(path: &str) -> bool {
    let mut rest = path.as_bytes();
    let mut dots = Some(0);
    loop {
        let (byte, length) = match rest {
            [] => return dots == Some(2),
            [b'%', b'2', b'e' | b'E', ..] => (b'.', 3),
            [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => (b'/', 3),
            [b'\\', ..] => (b'/', 1),
            [byte, ..] => (*byte, 1),
        };
        rest = &rest[length..];
        dots = match (byte, dots) {
            (b'/' | b';', Some(2)) => return true,
            (b'/', _) => Some(0),
            (b'.', Some(dots)) => Some(dots + 1),
            _ => None,
        };
    }
}

/// The rules for one host: by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Paths {
    /// In the order of their bytes.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: PathPrefix,
    app: usize,
    strips: bool,
    /// The longest other path with which this one begins.
    shorter: Option<usize>,
}

impl Entry {
    fn strip_bytes(&self) -> usize {
        // Of `/` nothing is taken off.
        if self.strips && self.path.as_str() != "/" { self.path.as_str().len() } else { 0 }
    }
}

impl Paths {
    /// Puts the rules in order. Of two that are the same the first app's counts; a store has no such two.
    fn arrange(&mut self) {
        self.entries.sort_by(|one, other| one.path.cmp(&other.path).then(one.app.cmp(&other.app)));
        self.entries.dedup_by(|later, first| later.path == first.path);
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.entries.len() {
            let begins_with = |shorter: &usize| self.entries[at].path.as_str().starts_with(self.entries[*shorter].path.as_str());
            while open.last().is_some_and(|shorter| !begins_with(shorter)) {
                open.pop();
            }
            self.entries[at].shorter = open.last().copied();
            open.push(at);
        }
    }

    /// The rule with the longest path that claims `path`. Every path with which `path` begins is, or is the beginning of, the last one that
    /// does not stand behind it in the order of bytes.
    fn longest(&self, path: &str) -> Option<&Entry> {
        let mut at = self.entries.partition_point(|entry| entry.path.as_str() <= path).checked_sub(1);
        while let Some(entry) = at.and_then(|at| self.entries.get(at)) {
            if entry.path.rest(path).is_some() {
                return Some(entry);
            }
            at = entry.shorter;
        }
        None
    }
}

#[cfg(test)]
mod tests;
