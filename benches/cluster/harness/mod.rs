//! What every scenario stands on: the built programs as processes, HTTP to them, what `/status` says, and what `/proc` says.

pub mod cluster;
pub mod http1;
pub mod lone_agent;
pub mod process;
pub mod program;
pub mod status;

pub use cluster::Cluster;
pub use lone_agent::LoneAgent;
pub use process::Process;
pub use status::Status;
