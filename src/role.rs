//! The roles that a process can take, by its name or by a subcommand.

pub mod agent;
pub mod controller;
mod gateway_args;
#[cfg(unix)]
mod handed_over;
pub mod traffic;
pub mod worker;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Command};

use crate::{failure, go_dash};

/// What a process of the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Keeps the desired state, decides, and serves the API and the gateway.
    Controller,
    /// Runs replicas on one host.
    Agent,
    /// The demo payload.
    Worker,
}

impl Role {
    /// The role's name, which is also that of its program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Controller => "controller",
            Role::Agent => "agent",
            Role::Worker => "worker",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn of_name(name: &OsStr) -> Option<Role> {
        [Role::Controller, Role::Agent, Role::Worker].into_iter().find(|role| name == role.name())
    }

    /// The role that the path of a program asks for: its file name, without the `.exe` of Windows.
    #[must_use]
    pub fn of_program(program: &OsStr) -> Option<Role> {
        let path = Path::new(program);
        let is_exe = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("exe"));
        Role::of_name(if is_exe { path.file_stem()? } else { path.file_name()? })
    }
}

/// Takes the role; `args` begin with the program's name.
pub fn main(role: Role, args: Vec<OsString>) -> ExitCode {
    let result = match role {
        Role::Controller => controller::run(parse(role, args)),
        Role::Agent => agent::run(parse(role, args)),
        Role::Worker => worker::run(parse(role, args)),
    };
    failure::exit(role.name(), result)
}

/// Reads a role's command line; prints help, version or what is wrong with it, and exits, where it asks for that.
fn parse<A: Args>(role: Role, args: Vec<OsString>) -> A {
    let mut command = A::augment_args(Command::new(role.name()).version(env!("CARGO_PKG_VERSION")));
    let args = go_dash::rewrite(args, &command);
    let matches = command.try_get_matches_from_mut(args).unwrap_or_else(|error| error.exit());
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Reads `ADDR:PORT`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDR:PORT with an IP address, as in 127.0.0.1:8000 or [::1]:8000".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_takes_the_role_of_its_name() {
        let of = |program: &str| Role::of_program(OsStr::new(program));
        assert_eq!(of("worker"), Some(Role::Worker));
        assert_eq!(of("/usr/bin/agent"), Some(Role::Agent));
        assert_eq!(of("./controller"), Some(Role::Controller));
        assert_eq!(of("worker.exe"), Some(Role::Worker));
        assert_eq!(of("Agent.EXE"), None);
        for other in ["ostler", "", "agents", "worker.sh", "controller.exe.bak"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    fn read<A: Args>(args: &[&str]) -> Result<A, clap::Error> {
        let mut command = A::augment_args(Command::new("role").version("1"));
        let args = go_dash::rewrite(args.iter().map(OsString::from).collect(), &command);
        A::from_arg_matches(&command.try_get_matches_from_mut(args)?)
    }

    #[test]
    fn the_command_lines_of_the_original_are_read() {
        for args in [&["agent", "-port", "9091"][..], &["agent", "-port=9091"], &["agent", "--port", "9091"], &["agent"]] {
            let config = read::<agent::AgentArgs>(args).unwrap().config();
            assert_eq!(config.listen, gateway::listen::Listen::Loopback { port: 9091 }, "{args:?}");
        }
        let config = read::<controller::ControllerArgs>(&["controller"]).unwrap().config();
        assert_eq!(config.listen, gateway::listen::Listen::Loopback { port: 8000 });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for args in [
            &["controller", "--listen", "localhost:8000"][..],
            &["controller", "--listen", "127.0.0.1:1", "--port", "2"],
            &["controller", "--lost-after", "500ms"],
            &["controller", "--port", "65536"],
            &["controller", "extra"],
            &["controller", "--head-timeout", "0s"],
            &["controller", "--head-bytes", "0"],
            &["controller", "--head-fields", "257"],
            &["controller", "--trust-proxy", "10.0.0.5/8"],
        ] {
            assert_eq!(read::<controller::ControllerArgs>(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
        assert_eq!(read::<agent::AgentArgs>(&["agent", "-p", "1"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn proxies_are_named_one_by_one_or_with_commas() {
        let args = ["controller", "--trust-proxy", "10.0.0.0/8,::1", "--trust-proxy", "192.0.2.7"];
        let config = read::<controller::ControllerArgs>(&args).unwrap().config();
        assert_eq!(config.trusted_proxies, ["10.0.0.0/8", "::1", "192.0.2.7"].map(|text| text.parse::<gateway::Network>().unwrap()));
    }

    #[test]
    fn every_command_line_is_consistent() {
        controller::ControllerArgs::augment_args(Command::new("controller")).debug_assert();
        agent::AgentArgs::augment_args(Command::new("agent")).debug_assert();
        worker::WorkerArgs::augment_args(Command::new("worker")).debug_assert();
    }
}
