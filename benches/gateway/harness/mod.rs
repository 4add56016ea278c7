//! What every scenario stands on: programs as processes, a small cluster, namespaces, and what `/proc` says.

pub mod cpu;
pub mod namespaces;
pub mod ostler;
pub mod others;
pub mod program;

// What the figures of the cluster look at is looked at in the same way here, if not all of it.
#[allow(dead_code)]
#[path = "../../cluster/harness/http1.rs"]
pub mod http1;
#[allow(dead_code)]
#[path = "../../cluster/harness/process.rs"]
pub mod process;
#[allow(dead_code)]
#[path = "../../cluster/harness/status.rs"]
pub mod status;

pub use namespaces::Namespaces;
pub use ostler::Ostler;
pub use process::Process;
pub use program::Program;
pub use status::Status;
