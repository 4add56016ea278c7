//! The operator's commands: one verb, one file, one call.

pub mod add_node;
pub mod logs;
pub mod nodes;
pub mod remove_node;
pub mod scale;
pub mod status;

use cluster::node_url::NodeUrl;

use crate::client::Client;

/// Which controller a command talks to.
#[derive(Clone, Debug, clap::Args)]
pub struct ControllerArg {
    /// The controller to talk to
    #[arg(long, env = "OSTLER_CONTROLLER", value_name = "URL", default_value = "http://localhost:8000")]
    controller: NodeUrl,
}

impl ControllerArg {
    fn client(&self) -> Client {
        Client::new(self.controller.clone())
    }
}

/// The body of an answer as `--json` prints it: as it came, its line ended.
fn json_line(body: &[u8]) -> Vec<u8> {
    let mut line = body.trim_ascii_end().to_vec();
    line.push(b'\n');
    line
}
