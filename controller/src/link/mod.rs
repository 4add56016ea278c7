//! The way to one agent: every call that the controller makes of a node goes through [`Link`].
//!
//! Absent from here: what follows from an answer, or from its absence. That is decided in the pure core.

pub mod dial;
pub mod http1;
pub mod links;
mod ndjson;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use cluster::endpoints::Endpoints;
use cluster::fence::Held;
use cluster::wire::{Assignment, NodeFacts, ObserveLine};
use cluster::{NodeUrl, ReplicaId};
use http_body_util::combinators::BoxBody;

/// Why a call of an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address.
    #[error("the host {host} cannot be found: {reason}")]
    Unresolved {
        /// The host of the node's URL.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// Every address refused the connection.
    #[error("nothing listens at {0}: the connection was refused")]
    Refused(String),
    /// No connection, and not every address refused it.
    #[error("cannot connect to {at}: {reason}")]
    Connect {
        /// Which address.
        at: String,
        /// The reason.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer from {at} within {within_ms} ms")]
    TimedOut {
        /// Which address.
        at: String,
        /// How long was waited.
        within_ms: u128,
    },
    /// Something else is there.
    #[error("what answers at {at} is no Ostler agent ({what})")]
    NoAgent {
        /// Which address.
        at: String,
        /// What it answered.
        what: String,
    },
    /// The agent says no.
    #[error("the agent at {at} answered {status}: {detail}")]
    Answered {
        /// Which address.
        at: String,
        /// The HTTP status.
        status: http::StatusCode,
        /// What the agent says.
        detail: String,
    },
    /// The connection broke, or what came is not HTTP or not JSON.
    #[error("the connection to {at} broke: {reason}")]
    Broken {
        /// Which address.
        at: String,
        /// The reason.
        reason: String,
    },
    /// A line of observations that cannot be read.
    #[error("the agent at {at} said what cannot be understood: {reason}")]
    Garbled {
        /// Which address.
        at: String,
        /// The reason.
        reason: String,
    },
}

impl Error {
    /// Every address of the node refused the connection (RST): nothing listens there.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::Refused(_))
    }
}

/// What became of an assignment, or of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// 202.
    Accepted,
    /// 409: it was older, or another cluster's.
    Conflict {
        /// What the agent has.
        held: Held,
        /// The agent's sentence.
        detail: String,
    },
}

/// What a call returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A body that is passed on as it comes.
pub type Passed = BoxBody<Bytes, Error>;

/// The calls that a controller makes of one agent. Each has a deadline of its own.
pub trait Link: Send + Sync + 'static {
    /// `GET /v1/node`.
    fn facts(&self) -> Answer<'_, NodeFacts>;

    /// `GET /v1/observe`: the stream, once it is open.
    fn observe(&self) -> Answer<'_, Box<dyn Lines>>;

    /// `PUT /v1/assignment`.
    fn put<'a>(&'a self, assignment: &'a Assignment) -> Answer<'a, Put>;

    /// `PUT /v1/endpoints`.
    fn put_endpoints<'a>(&'a self, endpoints: &'a Endpoints) -> Answer<'a, Put>;

    /// `GET /v1/replicas/{id}/logs`; `query` is what stands behind the `?`.
    fn logs<'a>(&'a self, replica: ReplicaId, query: &'a str) -> Answer<'a, http::Response<Passed>>;
}

/// A stream of observations.
pub trait Lines: Send {
    /// The next line. An error ends the stream.
    fn next(&mut self) -> Answer<'_, ObserveLine>;
}

/// Makes the links to nodes: the one place that knows how agents are reached.
pub trait Dialer: Send + Sync + 'static {
    /// A link to the agent at this URL. Nothing is dialled yet.
    fn link(&self, url: &NodeUrl) -> std::sync::Arc<dyn Link>;
}
