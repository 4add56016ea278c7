//! What the scenarios stand on. It knows the programs by their command lines, their HTTP and their logs, as an operator does;
//! nothing in here, and nothing in the scenarios, uses the libraries behind them.

pub mod cluster;
pub mod curl;
pub mod detour;
pub mod hasty_worker;
pub mod home;
pub mod http;
pub mod lines;
pub mod load;
pub mod needs;
pub mod ports;
pub mod processes;
pub mod program;
pub mod python;
pub mod s3;
pub mod socket_unit;
pub mod status;
pub mod tally;
pub mod traffic;
pub mod wait;
pub mod wire;

pub use self::cluster::{Cluster, Setup};
pub use self::home::Home;
pub use self::http::{Answer, Call};
pub use self::program::Program;
pub use self::wait::{PATIENCE, wait_for, wait_until};
