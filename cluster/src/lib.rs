//! The pure core of Ostler: what is wanted, what is seen, what to do next.
//!
//! Absent from here, and kept absent by `clippy.toml` and `tests/tidy.rs`: clocks, random numbers, sockets, files, threads,
//! async. Time comes in as [`Now`], new ids as an [`IdSource`], and everything that a decision walks over is ordered: the
//! same events give the same cluster, every time.

#![forbid(unsafe_code)]

pub mod access;
pub mod app;
pub mod apply;
pub mod artifact;
pub mod balance;
pub mod constraint;
mod consumer;
mod decide;
pub mod effects;
pub mod endpoints;
pub mod event;
pub mod exit;
pub mod fence;
pub mod health;
pub mod id;
pub mod io_class;
pub mod label;
pub mod limits;
pub mod liveness;
pub mod logs;
pub mod member;
pub mod node;
pub mod node_url;
pub mod now;
mod observe;
pub mod origin;
pub mod outlier;
pub mod placeholder;
pub mod placement;
pub mod plan;
pub mod restart;
pub mod retry;
pub mod route;
pub mod router;
pub mod rule;
pub mod run_as;
pub mod sample;
pub mod settings;
pub mod shrink;
pub mod slot;
pub mod socket;
pub mod source;
pub mod state;
pub mod status;
pub mod supervise;
pub mod timestamp;
pub mod traffic;
pub mod traffic_policy;
pub mod tree;
pub mod usage;
pub mod wire;

pub use app::{App, AppName, AppSpec};
pub use effects::Effects;
pub use event::Event;
pub use id::{ClusterId, IdSource, InstanceId, NodeId, ReplicaId};
pub use member::Member;
pub use node_url::NodeUrl;
pub use now::Now;
pub use settings::Settings;
pub use state::ClusterState;
