//! The command line of `ostler`: which command is meant, and how it ends.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory as _, Parser, Subcommand};
use cluster::node_url::NodeUrl;

use crate::client::Client;
use crate::command::{add_node, label, logs, nodes, remove_node, scale, schema, status, validate};
use crate::demo;
use crate::role::{self, Role, agent::AgentArgs, controller::ControllerArgs, worker::WorkerArgs};
use crate::{failure, go_dash};

/// Keeps ordinary programs running across your own servers, without containers.
#[derive(Debug, Parser)]
#[command(
    name = "ostler",
    version,
    after_help = "\
Try `ostler demo`: a whole cluster on this machine, until Ctrl+C.

Exit codes: 0 done, 1 refused or failed, 2 a command line that cannot be read."
)]
struct Cli {
    /// The controller that an operator's command talks to
    #[arg(long, global = true, env = "OSTLER_CONTROLLER", value_name = "URL", default_value = "http://localhost:8000")]
    controller: NodeUrl,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Nodes(nodes::Args),
    AddNode(add_node::Args),
    RemoveNode(remove_node::Args),
    Label(label::Args),
    Scale(scale::Args),
    Logs(logs::Args),
    Validate(validate::Args),
    Schema(schema::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoSweep(demo::SweepArgs),
    Controller(Box<ControllerArgs>),
    Agent(AgentArgs),
    Worker(WorkerArgs),
}

/// Runs `ostler`; `args` begin with the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = Cli::parse_from(with_go_dashes(args));
    let client = Client::new(cli.controller);
    match cli.command {
        Command::Controller(args) => failure::exit(Role::Controller.name(), role::controller::run(*args)),
        Command::Agent(args) => failure::exit(Role::Agent.name(), role::agent::run(args)),
        Command::Worker(args) => failure::exit(Role::Worker.name(), role::worker::run(args)),
        Command::Validate(args) => failure::exit("ostler", validate::run(&args)),
        Command::Schema(args) => failure::exit("ostler", schema::run(&args)),
        Command::DemoSweep(args) => failure::exit("ostler", demo::sweep(&args)),
        Command::Status(args) => operate(status::run(&client, args)),
        Command::Nodes(args) => operate(nodes::run(&client, args)),
        Command::AddNode(args) => operate(add_node::run(&client, args)),
        Command::RemoveNode(args) => operate(remove_node::run(&client, args)),
        Command::Label(args) => operate(label::run(&client, args)),
        Command::Scale(args) => operate(scale::run(&client, args)),
        Command::Logs(args) => operate(logs::run(&client, args)),
        Command::Demo(args) => operate(demo::run(args)),
    }
}

/// `ostler agent -port 9091` is read as `agent -port 9091` is.
fn with_go_dashes(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(role) = args.get(1).and_then(|name| Role::of_name(name)) else { return args };
    let command = Cli::command();
    let Some(subcommand) = command.find_subcommand(role.name()) else { return args };
    let rest = go_dash::rewrite(args.split_off(1), subcommand);
    args.extend(rest);
    args
}

/// One thread does for a command.
fn operate(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| anyhow!("cannot start the runtime: {error}")).and_then(|runtime| {
        let result = runtime.block_on(command);
        // A name that is still being looked up must not hold the program.
        runtime.shutdown_background();
        result
    });
    failure::exit("ostler", result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(with_go_dashes(args.iter().map(OsString::from).collect()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_role_may_be_a_subcommand_with_a_single_dash() {
        assert!(matches!(read(&["ostler", "agent", "-port", "9092"]).unwrap().command, Command::Agent(_)));
        assert!(matches!(read(&["ostler", "worker", "--port", "0"]).unwrap().command, Command::Worker(_)));
        assert_eq!(read(&["ostler", "status", "-json"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_controller_may_be_named_before_or_behind_the_command() {
        for args in [&["ostler", "--controller", "http://a:1", "status"][..], &["ostler", "status", "--controller", "http://a:1"]] {
            assert_eq!(read(args).unwrap().controller.to_string(), "http://a:1");
        }
        assert_eq!(read(&["ostler", "status", "--controller", "a:1"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        for args in
            [&["ostler"][..], &["ostler", "what"], &["ostler", "add-node"], &["ostler", "add-node", "localhost"], &["ostler", "scale"]]
        {
            assert_eq!(read(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
